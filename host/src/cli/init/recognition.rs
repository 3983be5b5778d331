//! Recognises what a model does, from its metadata and its outputs.

use plimsoll_runtime::nn::Description;

use super::detectors::{Detector, Evidence, Training, has_rows_of_cells};
use super::image_input::ImageInput;
use super::masks::masks;
use super::pictures::{depth, larger_image};
use super::probe::Output;
use super::setting::Setting;
use super::single_output::{classification, of_ultralytics, pose, segmentation, text, tokens, vector_beside_tokens};
use super::task::Task;
use super::values::is_float_type;
use crate::cli::error::Error;

/// Works out the task. `labels` is the number of labels that the user or the model gives.
pub(in crate::cli) fn recognise(
    model: &Description,
    input: &ImageInput,
    outputs: &[Output],
    labels: Option<u64>,
) -> Result<Task, Error> {
    if outputs.is_empty() {
        return Err(Error::Failed("the model has no outputs".into()));
    }
    let stated = model.metadata.get("task").map(String::as_str);
    let task = match stated {
        Some("obb") => {
            Task::as_they_are("oriented boxes (the model's metadata `task`), which no shipped plugin reads", false)
        }
        Some("segment") if outputs.len() > 1 => masks(outputs).unwrap_or_else(|| {
            Task::as_they_are(
                "masks of YOLO (the model's metadata `task`) in a form that no shipped plugin reads",
                false,
            )
        }),
        _ => detection(model, input, outputs, labels)
            .or_else(|| by_single_output(model, input, outputs, labels))
            .or_else(|| vector_beside_tokens(input, outputs))
            .unwrap_or_else(|| Task::as_they_are("unknown", true)),
    };
    Ok(task.with_defaults(input))
}

/// A detector of a known family.
fn detection(model: &Description, input: &ImageInput, outputs: &[Output], labels: Option<u64>) -> Option<Task> {
    let stated = model.metadata.get("task").map(String::as_str);
    if stated.is_some_and(|task| task != "detect") {
        return None;
    }
    if outputs.iter().any(|output| !is_float_type(output.ty)) && outputs.len() < 3 {
        return None;
    }
    if stated.is_none() && has_angles(model, input, outputs, labels) {
        let what = "detection of oriented boxes (it computes angles, or has one number more for each box than labels), which \
                    no shipped plugin reads";
        return Some(Task::as_they_are(what, true));
    }
    let evidence = Evidence { is_ultralytics: stated == Some("detect"), labels };
    Some(of_detector(Detector::recognise(input, outputs, evidence)?, input))
}

/// Returns true if the boxes are likely oriented: the output has the form of `yolov8`, with the angle as one number more.
/// Such a model turns the boxes by `Cos` and `Sin`, which the others have no use for.
fn has_angles(model: &Description, input: &ImageInput, outputs: &[Output], labels: Option<u64>) -> bool {
    let [output] = outputs else { return false };
    let turns = ["Cos", "Sin"].iter().all(|operator| model.operators.contains(*operator));
    let is_one_more = matches!((&*output.shape, labels), (&[1, numbers, _], Some(labels)) if labels + 5 == numbers);
    has_rows_of_cells(input, output) && (turns || is_one_more)
}

fn of_detector(detector: Detector, input: &ImageInput) -> Task {
    let Training { normalisation, letterbox, is_bgr, source } = detector.training;
    let mut geometry = Vec::new();
    match letterbox {
        Some(pad) => {
            geometry.push(Setting::assumed("resize", "letterbox", source));
            geometry.push(Setting::assumed("pad", pad, source));
        }
        None => geometry.push(Setting::assumed("resize", "stretch", source)),
    }
    if input.channels == 3 {
        geometry.push(Setting::assumed("channels", if is_bgr { "bgr" } else { "rgb" }, source));
    }
    let is_assumed = detector.settings.iter().any(|setting| setting.key == "layout" && setting.is_assumed);
    Task {
        title: detector.classes.map_or("detection".into(), |classes| format!("detection ({classes} classes)")),
        plugin: "detect-postprocess",
        settings: detector.settings,
        labels: Some(("labels", detector.classes)),
        is_assumed,
        geometry,
        normalisation: (normalisation, source),
    }
}

/// Another task that a single output shows.
fn by_single_output(model: &Description, input: &ImageInput, outputs: &[Output], labels: Option<u64>) -> Option<Task> {
    let [output] = outputs else { return None };
    let stated = model.metadata.get("task").map(String::as_str);
    let poses = if stated == Some("pose") { pose(model, output) } else { None };
    let classes = || {
        let task = classification(input, output, labels)?;
        let is_ultralytics = stated == Some("classify") && task.plugin == "classify-postprocess";
        Some(if is_ultralytics { of_ultralytics(task, input) } else { task })
    };
    poses
        .or_else(classes)
        .or_else(|| depth(input, output))
        .or_else(|| larger_image(input, output))
        .or_else(|| segmentation(input, output, labels))
        .or_else(|| text(output, labels))
        .or_else(|| tokens(output))
}
