//! The postprocess stage of classifiers: the scores of one image become its best labels.
//!
//! Reply: `{"predictions":[{"label":"7","index":7,"probability":0.98}, …]}`, most probable first; of equal
//! classes the lower index comes first.
//!
//! Configuration:
//! - `top_k`: the number of predictions (default 5). A caller overrides it by the query parameter `top_k`.
//!   More than there are classes means all of them.
//! - `scores`: `softmax` (default) where the model gives logits, `ready` where it gives probabilities.
//! - `labels`: the asset with one label a line. Without it a label is its index as text.
//! - `output`: the name of the tensor with the scores (f32, one image); not needed where there is only one.

mod scores;

use std::sync::OnceLock;

use plimsoll_sdk::{
    Failure, Init, NamedTensor, Postprocess, Reply, Request, config, export_postprocess, labels, tensor,
};
use serde::Serialize;

struct Classify;

export_postprocess!(Classify with init);

/// What `init` leaves for every request.
struct Settings {
    top_k: usize,
    ready: bool,
    labels: Option<Vec<String>>,
    output: String,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

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
        config::only(&["top_k", "scores", "labels", "output"])?;
        let top_k = config::parse("top_k", 5)?;
        if top_k == 0 {
            return Err("configuration key `top_k`: at least 1 is needed".into());
        }
        let settings = Settings {
            top_k,
            ready: config::choice("scores", &[("softmax", false), ("ready", true)])?,
            labels: config::get("labels").map(|name| labels::read(&name)).transpose()?,
            output: config::get("output").unwrap_or_default(),
        };
        SETTINGS.set(settings).map_err(|_| "the plugin is initialised already".into())
    }
}

impl Postprocess for Classify {
    fn run(request: Request, outputs: Vec<NamedTensor>, _context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get().ok_or_else(|| Failure::Internal("`init` was not called".into()))?;
        let top_k = requested(&request)?.unwrap_or(settings.top_k);

        let output = tensor::find(&outputs, &settings.output).map_err(Failure::Internal)?;
        let given = tensor::to_f32(output).map_err(Failure::Internal)?;
        let labels = settings.labels.as_deref();
        if let Some(labels) = labels.filter(|labels| labels.len() != given.len()) {
            let (shape, count) = (output.dimensions(), labels.len());
            return Err(Failure::Internal(format!(
                "the output of shape {shape:?} has {} scores, but there are {count} labels",
                given.len()
            )));
        }
        let probabilities = if settings.ready { given } else { scores::softmax(given) };
        // A score that is no number is a fault of the model or its preprocessing; no ranking of it is true.
        if let Some(index) = probabilities.iter().position(|value| !value.is_finite()) {
            return Err(Failure::Internal(format!("the model's score of class {index} is no finite number")));
        }

        let predictions = scores::best(&probabilities, top_k)
            .into_iter()
            .map(|index| Prediction {
                label: labels.map_or_else(|| index.to_string(), |labels| labels[index].clone()),
                index,
                probability: probabilities[index],
            })
            .collect();
        let body = serde_json::to_vec(&Answer { predictions })
            .map_err(|error| Failure::Internal(format!("the reply is not written: {error}")))?;
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

/// The caller's own `top_k`; of several the last counts.
fn requested(request: &Request) -> Result<Option<usize>, Failure> {
    let Some((_, text)) = request.parameters.iter().rev().find(|(name, _)| name == "top_k") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(top_k) if top_k > 0 => Ok(Some(top_k)),
        _ => Err(Failure::InvalidInput(format!("query parameter `top_k`: {text:?} is no whole number of 1 or more"))),
    }
}
