//! Postprocess stage for classifiers: converts the scores of one image into its most probable labels.
//!
//! Reply: `{"predictions":[{"label":"7","index":7,"probability":0.98}, …]}`, most probable first: in the order of the scores,
//! also if their probabilities are equal after rounding. Of equal scores, the lower index comes first.
//!
//! Configuration:
//! - `top_k`: the number of predictions (default 5). A caller can override it with the query parameter `top_k`.
//!   A number greater than the number of classes returns all classes.
//! - `scores`: `softmax` (default) if the model returns logits, `ready` if it returns probabilities. Scores that do not suit
//!   are refused: with `ready`, scores that are not from 0 to 1 (0.01 is tolerated, for quantised models; their sum is not
//!   checked, because several labels of one image may be likely); with `softmax`, two scores of which none is below 0 and
//!   whose sum is 1 within 0.005, and three or more scores that are all from 0 to 1 (0.01 is tolerated), because they are
//!   probabilities already, of 8 bits (whose sum is not 1) or of independent classes, too. `logits` is `softmax` without this
//!   check, for a model whose logits can be so.
//! - `labels`: the asset with one label per line. Without it, the label is the class index as text.
//! - `output`: the name of the tensor with the scores. Optional if the model has one output.
//! - `items`: `true` in a step that gathers items (`gather = true`): the reply has the predictions of each item, see below
//!   (default `false`).
//!
//! Reply with `items`: `{"width":W,"height":H,"items":[{"box":[…],"score":0.9,"predictions":[…]}, …]}`, in the order of the
//! items. Besides `predictions`, an item has what the step that made it says of it in the member `item` of its context, as
//! `crop-transform` does. An item that failed (`partial = true`) has `"error":{"step","outcome","message"}` instead of
//! `predictions`. Width and height are those of the caller's image.
//!
//! The scores must be f32, f16, bf16 or f64 and belong to one image: shape `[C]`, `[1, C]`, `[1, C, 1, 1]` or `[1, 1, C]` with C classes.
//! Other shapes are rejected, as are scores that are NaN or infinite; -∞ is accepted as a logit (a masked class). If the
//! model declares its outputs, the type, the shape and the number of labels are checked at deployment.

use plimsoll_sdk::{
    Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, config, export_postprocess, model,
};
use postprocess_core::classes::Classes;
use postprocess_core::{items, outputs, shape};
use serde::Serialize;

struct Classify;

export_postprocess!(Classify with init);

/// The configuration, read once by `init` and used by every request.
struct Settings {
    top_k: usize,
    classes: Classes,
    output: String,
    /// True if the step gathers items.
    items: bool,
}

static SETTINGS: Configured<Settings> = Configured::new();

#[derive(Serialize)]
struct Answer {
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    label: String,
    index: usize,
    probability: f32,
}

impl Init for Classify {
    fn init() -> Result<(), String> {
        config::only(&["top_k", "scores", "labels", "output", "items"])?;
        let top_k = config::parse("top_k", 5)?;
        if top_k == 0 {
            return Err("configuration key `top_k`: must be at least 1".into());
        }
        let settings = Settings {
            top_k,
            classes: Classes::read()?,
            output: config::get("output").unwrap_or_default(),
            items: config::parse("items", false)?,
        };
        if let Some(outputs) = model::outputs()? {
            let classes = &settings.classes;
            shape::check_declared(&outputs, &settings.output, classes.count(), classes.is_softmax())?;
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Classify {
    fn run(request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        let top_k = requested_top_k(&request)?.unwrap_or(settings.top_k);
        if settings.items {
            return items::reply(outputs, &context, |outputs| answer(settings, top_k, outputs));
        }
        let answer = answer(settings, top_k, &outputs).map_err(Failure::Internal)?;
        let body = serde_json::to_vec(&answer)
            .map_err(|error| Failure::Internal(format!("the reply cannot be serialised: {error}")))?;
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

/// The best classes of one image.
fn answer(settings: &Settings, top_k: usize, outputs: &[NamedTensor]) -> Result<Answer, String> {
    let Settings { classes, output, .. } = settings;
    let (name, tensor) = outputs::find(outputs, output)?;
    let best = classes.best(name, &classes.scores(name, tensor)?, top_k)?;
    let predictions = best
        .into_iter()
        .map(|(index, probability)| Prediction { label: classes.label(index), index, probability })
        .collect();
    Ok(Answer { predictions })
}

/// The query parameter `top_k`, if the caller set it. If it is repeated, the last value counts.
fn requested_top_k(request: &Request) -> Result<Option<usize>, Failure> {
    let Some((_, text)) = request.parameters.iter().rev().find(|(name, _)| name == "top_k") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(top_k) if top_k > 0 => Ok(Some(top_k)),
        _ => {
            let message = format!("query parameter `top_k`: {text:?} is not a whole number of at least 1");
            Err(Failure::InvalidInput(message))
        }
    }
}
