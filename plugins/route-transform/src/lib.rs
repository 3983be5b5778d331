//! Step of kind `transform`: lets a branch run only for some classes. The step needs `items = true`. It makes one item, for which
//! the steps of the branch run, or none, for which they do not run.
//!
//! It takes the scores of a classifier, and the tensors that the branch needs: `from = ["classify", "prepare.image"]`. If the
//! best class is one of `keep`, the item has all tensors except the scores; they are passed on without a copy.
//!
//! With `gather = true` at the step and `items = true` in its configuration, it decides for each item that it gathers: those of
//! other classes are left out, the others keep their order. An item that failed before (`partial = true`) is an error (500),
//! because it has no class.
//!
//! For a branch of all other classes, add a second step with the same configuration and `invert = true`.
//!
//! Configuration:
//! - `keep`: the classes: labels if `labels` is set (a label of several classes means all of them), otherwise indices.
//!   Required.
//! - `score_threshold`: the probability that the best class needs, 0 to 1 (default 0).
//! - `invert`: `true` keeps exactly what is left out otherwise (default `false`).
//! - `scores`: `softmax` (default) if the model returns logits, `ready` if it returns probabilities, `logits` for softmax of
//!   scores that look like probabilities.
//! - `labels`: the asset with one label per line.
//! - `output`: the name of the tensor with the scores. Required, because there are other tensors.
//! - `items`: see above (default `false`).
//!
//! The scores are checked as in `classify-postprocess`. If the context is a JSON object, its member `item` gets
//! `"class":{"label":"cat","index":3,"probability":0.9}`, so that postprocessing reports it.

use plimsoll_sdk::gathered::Gathered;
use plimsoll_sdk::{
    Bundle, Configured, Failure, Init, NamedTensor, Outcome, Request, Transform, config, export_transform,
};
use postprocess_core::classes::{self, Classes};
use serde::Serialize;
use serde_json::{Map, Value};

struct Route;

export_transform!(Route with init);

/// The configuration, read once by `init` and used by every request.
struct Settings {
    keep: Vec<usize>,
    score_threshold: f32,
    invert: bool,
    classes: Classes,
    output: String,
    /// True if the step gathers items.
    items: bool,
}

static SETTINGS: Configured<Settings> = Configured::new();

/// The best class.
#[derive(Serialize)]
struct Class {
    label: String,
    index: usize,
    probability: f64,
}

impl Init for Route {
    fn init() -> Result<(), String> {
        config::only(&["keep", "score_threshold", "invert", "scores", "labels", "output", "items"])?;
        let classes = Classes::read()?;
        SETTINGS.set(Settings {
            keep: classes::read_keep(classes.labels())?
                .ok_or("configuration key `keep` is missing: it lists classes")?,
            score_threshold: config::fraction("score_threshold", 0.0)?,
            invert: config::parse("invert", false)?,
            classes,
            output: config::get("output")
                .ok_or("configuration key `output` is missing: it names the tensor with the scores")?,
            items: config::parse("items", false)?,
        })
    }
}

impl Transform for Route {
    fn run(_request: Request, input: Bundle) -> Result<Outcome, Failure> {
        let settings = SETTINGS.get()?;
        route(settings, input).map(Outcome::Items).map_err(Failure::Internal)
    }
}

fn route(settings: &Settings, Bundle { tensors, context }: Bundle) -> Result<Vec<Bundle>, String> {
    if !settings.items {
        return Ok(kept(settings, tensors, context)?.into_iter().collect());
    }
    let gathered = Gathered::read(tensors, &context)?;
    let mut items = Vec::new();
    for (at, item) in gathered.items.into_iter().enumerate() {
        let item = item.map_err(|error| {
            format!(
                "item {at} failed in step `{}` ({}), so it has no class: {}",
                error.step, error.outcome, error.message
            )
        })?;
        items.extend(kept(settings, item.tensors, item.context).map_err(|error| format!("item {at}: {error}"))?);
    }
    Ok(items)
}

/// What is handed on of tensors with these scores; `None` if they are left out.
fn kept(settings: &Settings, mut tensors: Vec<NamedTensor>, context: Vec<u8>) -> Result<Option<Bundle>, String> {
    let name = &settings.output;
    let place = tensors.iter().position(|(other, _)| other == name).ok_or_else(|| {
        let names: Vec<_> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "there is no tensor `{name}` with scores; the tensors are {names:?}: set the configuration key `output`"
        )
    })?;
    let (_, tensor) = tensors.remove(place);
    let scores = settings.classes.scores(name, &tensor)?;
    if let Some(class) = settings.keep.iter().find(|class| **class >= scores.len()) {
        let classes = scores.len();
        return Err(format!(
            "output `{name}` has {classes} classes, so there is no class {class}: set the configuration key `keep`"
        ));
    }
    let Some(&(index, probability)) = settings.classes.best(name, &scores, 1)?.first() else { return Ok(None) };
    let is_in = settings.keep.contains(&index) && probability >= settings.score_threshold;
    if is_in == settings.invert {
        return Ok(None);
    }
    let label = settings.classes.label(index);
    // The shortest decimal number that is this f32, as elsewhere in replies.
    let probability = probability.to_string().parse().unwrap_or(f64::from(probability));
    let context = with_class(context, &Class { label, index, probability })?;
    Ok(Some(Bundle { tensors, context }))
}

/// The context with the class in its member `item`. A context that is no JSON object stays as it is.
fn with_class(context: Vec<u8>, class: &Class) -> Result<Vec<u8>, String> {
    let parsed = if context.is_empty() { Ok(Map::new()) } else { serde_json::from_slice(&context) };
    let Ok(mut object): Result<Map<String, Value>, _> = parsed else { return Ok(context) };
    let failed = |error: serde_json::Error| format!("the context cannot be serialised: {error}");
    let item = object.entry("item").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(item) = item {
        item.insert("class".to_owned(), serde_json::to_value(class).map_err(failed)?);
    }
    serde_json::to_vec(&object).map_err(failed)
}
