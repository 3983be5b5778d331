//! Postprocess stage for pose models: converts their outputs to keypoints in pixels of the caller's image.
//!
//! Reply: `{"width":W,"height":H,"poses":[{"label":"person","index":0,"score":0.9,"box":[x1,y1,x2,y2],
//! "keypoints":[{"label":"nose","x":X,"y":Y,"score":0.8}, …]}]}`, best pose first, keypoints in the order of the model.
//! Width, height and coordinates are in pixels of the caller's image after its orientation was applied. The preprocess
//! stage must be `image-preprocess` or write the same context.
//!
//! `layout` is the form of the output. N is the number of boxes, C of classes, K of keypoints, D the numbers of a keypoint:
//!
//! | layout | output | for example | source |
//! | --- | --- | --- | --- |
//! | `yolo` (default) | [1, 4 + C + K D, N]: centre and size, classes, keypoints | YOLOv8-pose, YOLO11-pose | `PosePredictor` and `non_max_suppression` of Ultralytics |
//! | `end-to-end` | [1, N, 6 + K D]: x1, y1, x2, y2, score, class, keypoints | YOLO26-pose | the same, `end2end` |
//! | `heatmaps` | [1, K, H, W]: a map for each keypoint of the one person in the image | HRNet, SimpleBaseline | `get_final_preds` of HRNet |
//!
//! - `yolo` and `end-to-end`: boxes are selected as by `detect-postprocess`; boxes and keypoints are clamped to the image,
//!   and a box outside of it is not reported. Ultralytics also moves keypoints with a score below 0.5 to 0, 0; here they are
//!   returned with their score.
//! - `heatmaps`: the keypoint is the greatest number of its map, the first one of equal numbers, and this number is its
//!   score. If it is at least two places from the left and upper edge and one from the others, the keypoint is moved by a
//!   quarter of a place towards the greater neighbour, in x and in y. A map without a number over 0 has its keypoint at
//!   0, 0. Keypoints are not clamped to the image. There is one pose, without `label`, `index`, `score` and `box`. The image
//!   must be that of one person: HRNet cuts it out with a quarter of its size added, in the proportions of the input.
//!
//! Configuration:
//! - `layout`: see above.
//! - `output`: the name of the tensor. Optional if the model has one output.
//! - `keypoints`: the asset with the name of one keypoint per line. Without it, the label is the index as text.
//!
//! Not for `heatmaps`:
//! - `dimensions`: `3` if a keypoint has x, y and a score (default), `2` without a score.
//! - `labels`: the asset with one label of a class per line. Without it, the label is the class index as text.
//! - `classes`: for `yolo`, the number of classes, at most 65,536 (default: the number of labels, or 1).
//! - `coordinates`: `pixels` of the model's input (default) or `fractions` of it.
//! - `score_threshold`: a pose is reported only if its score is greater (default 0.25).
//! - `nms`: what happens to boxes that overlap a better one: `per-class` (they are dropped if they are of the same class,
//!   default for `yolo`), `class-agnostic` (of any class) or `none` (default for `end-to-end`).
//! - `iou_threshold`: two boxes overlap if their intersection over union is greater (default 0.7).
//! - `max_detections`: the maximum number of poses, at least 1 (default 100), at most 10,000 unless `nms` is `none`.
//!
//! These are errors (500): a number that is NaN or infinite; for `yolo` and `end-to-end`, a score that is no probability;
//! in boxes over the threshold, corners that are exchanged or far outside of the input, and a class without a label; with
//! `coordinates = "pixels"`, boxes that are all within 2 pixels of the left upper corner of the input, because these are
//! fractions, and for `yolo` first keypoints that are all from 0 to 1, because these are probabilities of more classes than
//! `classes`; for `heatmaps`, maps whose proportions are not those of the model's input (except for one row or column),
//! because their axes are exchanged. If the model declares its outputs, type and shape are checked at deployment.

mod heatmaps;
mod people;
mod settings;
mod shape;

use plimsoll_sdk::{Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, export_postprocess, model};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs;
use serde::Serialize;

use settings::{Layout, Settings};

struct Pose;

export_postprocess!(Pose with init);

static SETTINGS: Configured<Settings> = Configured::new();

#[derive(Serialize)]
struct Answer {
    width: u32,
    height: u32,
    poses: Vec<Person>,
}

/// A person. Members that a layout does not have are left out.
#[derive(Serialize)]
struct Person {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#box: Option<[f32; 4]>,
    keypoints: Vec<Keypoint>,
}

#[derive(Serialize)]
struct Keypoint {
    label: String,
    x: f32,
    y: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

impl Init for Pose {
    fn init() -> Result<(), String> {
        let settings = Settings::read()?;
        if let Some(declared) = model::outputs()? {
            let output = outputs::declared(&declared, "output", &settings.output, outputs::FLOATS)?;
            if let Some(shape) = &output.shape {
                shape::sizes(&settings, &output.name, shape)?;
            }
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Pose {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        reply(settings, &outputs, &context).map_err(Failure::Internal)
    }
}

fn reply(settings: &Settings, tensors: &[NamedTensor], context: &[u8]) -> Result<Reply, String> {
    let geometry = Geometry::parse(context)?;
    let (name, tensor) = outputs::find(tensors, &settings.output)?;
    let sizes = shape::sizes(settings, name, &outputs::shape(tensor))?.map(|size| size.unwrap_or(0) as usize);
    let numbers = outputs::numbers(name, tensor)?;
    let poses = match settings.layout {
        Layout::Heatmaps => {
            shape::check_proportions(name, &geometry, sizes)?;
            vec![heatmaps::person(settings, &geometry, &numbers, sizes)]
        }
        Layout::Yolo | Layout::EndToEnd => people::people(settings, &geometry, (name, &numbers), sizes)?,
    };
    let answer = Answer { width: geometry.width, height: geometry.height, poses };
    let body = serde_json::to_vec(&answer).map_err(|error| format!("the reply cannot be written: {error}"))?;
    Ok(Reply { content_type: "application/json".into(), body })
}
