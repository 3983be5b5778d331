//! Postprocess stage for text recognisers that were trained with CTC: returns the text of one image.
//!
//! The output has, for each of T steps from left to right, the scores of C classes: the entries of a dictionary and a
//! blank. Decoding is greedy (Graves et al., "Connectionist Temporal Classification", ICML 2006, best path): the best
//! class of each step (of equal scores the first one); a class that follows itself counts once; blanks are removed.
//!
//! Reply: `{"text":"hi","confidence":0.9,"characters":[{"text":"h","confidence":0.8,"step":2}, …]}`. The confidence of a
//! character is the probability of its class in its first step; that of the text is the mean of its characters, 0 for an
//! empty text (as `CTCLabelDecode` of PaddleOCR).
//!
//! Configuration:
//! - `dictionary`: the asset with one entry per line, in the order of the classes. An entry may be more than one character,
//!   or a space. Required.
//! - `blank`: the place of the blank among the classes: `first` (default, PaddleOCR) or `last`.
//! - `space`: `true` adds a space as the last entry of the dictionary (`use_space_char` of PaddleOCR); default `false`.
//! - `right_to_left`: `true` for models of Arabic script that read an image from left to right (PaddleOCR's, if the path of
//!   the dictionary contains `arabic`): `text` is in the order of reading, as `pred_reverse` of PaddleOCR makes it. It is
//!   reversed, but each run of `a` to `z`, `A` to `Z`, `0` to `9`, space and `:*./%+-` keeps its order. `characters` are in
//!   the order of the steps. Default `false`.
//! - `scores`: `softmax` (default) if the model returns logits, `ready` if it returns probabilities, `logits` for softmax of
//!   scores that look like probabilities.
//! - `layout`: `btc` (default) for an output of shape `[1, T, C]`, `tbc` for `[T, 1, C]`.
//! - `output`: the name of the tensor. Optional if the model has one output.
//! - `items`: `true` in a step that gathers items (`gather = true`): the reply is `{"width":W,"height":H,"items":[…]}`, and an
//!   item has the three members above, as `predictions` of `classify-postprocess`, which describes the other members (default
//!   `false`).
//!
//! These are errors (500): a score that is NaN or infinite; with `ready` a score that is not a probability; with
//! `softmax` an output whose scores are probabilities already, because their softmax would be meaningless: most steps have the
//! sum 1, or (with at least three classes) all scores are from 0 to 1, which quantised probabilities are. If the
//! model declares its outputs, type, shape and the number of classes are checked at deployment.

mod decode;
mod dictionary;

use plimsoll_sdk::model::shape_text;
use plimsoll_sdk::{
    Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, config, export_postprocess, model,
};
use postprocess_core::scores::Form;
use postprocess_core::{items, outputs, scores};
use serde::Serialize;

use dictionary::Dictionary;

struct Text;

export_postprocess!(Text with init);

/// The configuration, read once by `init` and used by every request.
struct Settings {
    output: String,
    dictionary: Dictionary,
    /// What the scores are.
    scores: Form,
    /// True if the steps are the first dimension.
    steps_first: bool,
    /// True if the text is reversed.
    right_to_left: bool,
    /// True if the step gathers items.
    items: bool,
}

static SETTINGS: Configured<Settings> = Configured::new();

#[derive(Serialize)]
struct Answer<'a> {
    text: String,
    confidence: f64,
    characters: Vec<Character<'a>>,
}

#[derive(Serialize)]
struct Character<'a> {
    text: &'a str,
    confidence: f32,
    step: usize,
}

impl Init for Text {
    fn init() -> Result<(), String> {
        config::only(&["output", "dictionary", "blank", "space", "scores", "layout", "right_to_left", "items"])?;
        let settings = Settings {
            output: config::get("output").unwrap_or_default(),
            dictionary: Dictionary::read()?,
            scores: config::choice("scores", scores::FORMS)?,
            steps_first: config::choice("layout", &[("btc", false), ("tbc", true)])?,
            right_to_left: config::parse("right_to_left", false)?,
            items: config::parse("items", false)?,
        };
        if let Some(declared) = model::outputs()? {
            let output = outputs::declared(&declared, "output", &settings.output, outputs::FLOATS)?;
            if let Some(shape) = &output.shape {
                check_shape(&settings, &output.name, shape)?;
            }
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Text {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        if settings.items {
            return items::reply(outputs, &context, |outputs| answer(settings, outputs));
        }
        let answer = answer(settings, &outputs).map_err(Failure::Internal)?;
        let body = serde_json::to_vec(&answer)
            .map_err(|error| Failure::Internal(format!("the reply cannot be written: {error}")))?;
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

/// The text of one image.
fn answer<'a>(settings: &'a Settings, tensors: &[NamedTensor]) -> Result<Answer<'a>, String> {
    let (name, tensor) = outputs::find(tensors, &settings.output)?;
    check_shape(settings, name, &outputs::shape(tensor))?;
    let scores = outputs::numbers(name, tensor)?;
    let classes = settings.dictionary.classes();
    decode::check(name, &scores, classes, settings.scores)?;
    let read = |step: decode::Step| {
        let text = settings.dictionary.entry(step.class)?;
        Some(Character { text, confidence: step.probability, step: step.index })
    };
    let characters: Vec<_> =
        decode::best_path(&scores, classes, settings.scores == Form::Ready).filter_map(read).collect();
    let sum: f64 = characters.iter().map(|character| f64::from(character.confidence)).sum();
    let text: String = characters.iter().map(|character| character.text).collect();
    Ok(Answer {
        text: if settings.right_to_left { decode::reversed(&text) } else { text },
        confidence: if characters.is_empty() { 0.0 } else { sum / characters.len() as f64 },
        characters,
    })
}

/// Checks the shape of the output. `None` is a dynamic size.
fn check_shape(settings: &Settings, output: &str, shape: &[Option<u32>]) -> Result<(), String> {
    let can_be_one = |size: Option<u32>| size.is_none_or(|size| size == 1);
    let sizes = match (settings.steps_first, shape) {
        (false, &[image, steps, classes]) | (true, &[steps, image, classes]) if can_be_one(image) => {
            Some((steps, classes)).filter(|(steps, _)| *steps != Some(0))
        }
        _ => None,
    };
    let Some((_, classes)) = sizes else {
        let expected =
            if settings.steps_first { "[T, 1, C] (`layout = \"tbc\"`)" } else { "[1, T, C] (`layout = \"btc\"`)" };
        return Err(format!(
            "output `{output}` has the shape {}, but the plugin expects {expected}: set the configuration key `layout` to \
             the form of this output, set `output` to another one, or use another postprocess plugin",
            shape_text(shape)
        ));
    };
    match classes {
        Some(found) if found as usize != settings.dictionary.classes() => Err(format!(
            "output `{output}` has {found} classes, but the dictionary has {} entries, and the blank is one more class: use \
             the dictionary of this model, or set the configuration key `space`, which adds an entry",
            settings.dictionary.classes() - 1
        )),
        _ => Ok(()),
    }
}
