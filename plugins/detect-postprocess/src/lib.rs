//! Postprocess stage for detectors that decode their boxes inside the model (such as UltraFace). The model's outputs
//! are scores of shape `[1, N, C]`, and boxes of shape `[1, N, 4]` as x1, y1, x2, y2 in fractions of the model's input.
//!
//! Reply: `{"width":W,"height":H,"detections":[{"label":"face","index":1,"score":0.99,"box":[x1,y1,x2,y2]}]}`,
//! best first. Width, height and boxes are in pixels of the caller's image after its orientation was applied; the
//! boxes are clamped to the image. The preprocess stage must be `image-preprocess` or write the same context.
//!
//! Configuration:
//! - `scores`, `boxes`: the names of the two output tensors, both f32 (defaults `scores` and `boxes`).
//! - `score_threshold`: a box is reported only if its score is greater (default 0.7).
//! - `iou_threshold`: of two boxes of one class, the one with the lower score is dropped if their overlap (intersection
//!   over union) is greater (default 0.3).
//! - `background_class`: the index of the class that means "no object" (default 0; -1 if the model has none).
//! - `max_detections`: the maximum number of detections in a reply (default 100).
//! - `labels`: the asset with one label per line. Without it, the label is the class index as text.
//!
//! A score or coordinate that is NaN or infinite is an error, also in boxes that would not be reported. If the model
//! declares its outputs, their types and shapes and the number of labels are checked at deployment.

mod check;
mod geometry;
mod select;

use std::sync::OnceLock;

use plimsoll_sdk::{
    Failure, Init, NamedTensor, Postprocess, Reply, Request, config, export_postprocess, labels, model, tensor,
};
use serde::Serialize;

struct Detect;

export_postprocess!(Detect with init);

/// The configuration, read once by `init` and used by every request.
struct Settings {
    scores: String,
    boxes: String,
    labels: Option<Vec<String>>,
    rule: select::Rule,
}

impl Settings {
    fn expected(&self) -> check::Expected<'_> {
        check::Expected {
            scores: &self.scores,
            boxes: &self.boxes,
            labels: self.labels.as_ref().map(Vec::len),
            background: self.rule.background,
        }
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

#[derive(Serialize)]
struct Answer {
    width: u32,
    height: u32,
    detections: Vec<Detection>,
}

#[derive(Serialize)]
struct Detection {
    label: String,
    index: usize,
    score: f32,
    r#box: [f32; 4],
}

impl Init for Detect {
    fn init() -> Result<(), String> {
        config::only(&[
            "scores",
            "boxes",
            "score_threshold",
            "iou_threshold",
            "background_class",
            "max_detections",
            "labels",
        ])?;
        let background: i64 = config::parse("background_class", 0)?;
        let settings = Settings {
            scores: config::get("scores").unwrap_or_else(|| "scores".into()),
            boxes: config::get("boxes").unwrap_or_else(|| "boxes".into()),
            labels: config::get("labels").map(|name| labels::read(&name)).transpose()?,
            rule: select::Rule {
                score_threshold: fraction("score_threshold", 0.7)?,
                iou_threshold: fraction("iou_threshold", 0.3)?,
                background: match background {
                    -1 => None,
                    class => Some(usize::try_from(class).map_err(|_| {
                        format!("configuration key `background_class`: {class} is neither a class nor -1")
                    })?),
                },
                max_detections: config::parse("max_detections", 100)?,
            },
        };
        if let Some(outputs) = model::outputs()? {
            check::declared(&outputs, &settings.expected())?;
        }
        SETTINGS.set(settings).map_err(|_| "the plugin is already initialised".into())
    }
}

/// Reads a threshold from the configuration and checks that it is from 0 to 1.
fn fraction(key: &str, default: f32) -> Result<f32, String> {
    let value = config::parse(key, default)?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!("configuration key `{key}`: {value} is not between 0 and 1"))
    }
}

impl Postprocess for Detect {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get().ok_or_else(|| Failure::Internal("`init` was not called".into()))?;
        let geometry = geometry::Geometry::parse(&context).map_err(Failure::Internal)?;
        let found = select_boxes(settings, &outputs).map_err(Failure::Internal)?;

        let detections = found
            .into_iter()
            .filter_map(|found| {
                let r#box = geometry.to_original(found.r#box)?;
                let label = match &settings.labels {
                    Some(labels) => labels[found.class].clone(),
                    None => found.class.to_string(),
                };
                Some(Detection { label, index: found.class, score: found.score, r#box })
            })
            .collect();
        let answer = Answer { width: geometry.width, height: geometry.height, detections };
        let body = serde_json::to_vec(&answer)
            .map_err(|error| Failure::Internal(format!("the reply cannot be serialised: {error}")))?;
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

/// Checks the two tensors and selects the boxes to report.
fn select_boxes(settings: &Settings, outputs: &[NamedTensor]) -> Result<Vec<select::Found>, String> {
    let expected = settings.expected();
    let scores = tensor::find(outputs, expected.scores)?;
    let boxes = tensor::find(outputs, expected.boxes)?;
    let known = |shape: Vec<u32>| shape.into_iter().map(Some).collect::<Vec<_>>();
    let classes = check::classes(&expected, &known(scores.dimensions()), &known(boxes.dimensions()))?;
    let classes = classes.ok_or("the number of classes is not known")?;
    let read = |name, output| tensor::to_f32(output).map_err(|error| format!("output `{name}`: {error}"));
    let (scores, boxes) = (read(expected.scores, scores)?, read(expected.boxes, boxes)?);
    check::numbers(&expected, &scores, classes, &boxes)?;
    Ok(select::select(&settings.rule, &scores, classes, &boxes))
}
