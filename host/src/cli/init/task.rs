//! What a model does, from its outputs, and the postprocess plugin for it.

use plimsoll_runtime::nn::Description;
use plimsoll_runtime::tensor::TensorType;

use super::detectors::{Detector, Training};
use super::image_input::ImageInput;
use super::normalisation::Normalisation;
use super::probe::Output;
use super::setting::Setting;
use crate::cli::error::Error;

/// What a model does.
#[derive(Debug)]
pub(in crate::cli) struct Task {
    /// What it is, for people.
    pub(in crate::cli) title: String,
    /// The postprocess plugin.
    pub(in crate::cli) plugin: &'static str,
    /// Its settings.
    pub(in crate::cli) settings: Vec<Setting>,
    /// The key of the setting that names the asset with the labels, and the number of labels if it is known; `None` if the
    /// plugin has no labels.
    pub(in crate::cli) labels: Option<(&'static str, Option<u64>)>,
    /// True if another task is possible.
    pub(in crate::cli) is_assumed: bool,
    /// The settings of `image-preprocess`, except normalisation.
    pub(in crate::cli) geometry: Vec<Setting>,
    /// The normalisation, and the reason for it.
    pub(in crate::cli) normalisation: (Normalisation, &'static str),
}

impl Task {
    /// Works out the task. `labels` is the number of labels that the user or the model gives.
    pub(in crate::cli) fn recognise(
        model: &Description,
        input: &ImageInput,
        outputs: &[Output],
        labels: Option<u64>,
    ) -> Result<Self, Error> {
        if outputs.is_empty() {
            return Err(Error::Failed("the model has no outputs".into()));
        }
        let stated = model.metadata.get("task").map(String::as_str);
        let is_float = |output: &Output| is_float_type(output.ty);
        let detector = match stated {
            Some(task) if task != "detect" => None,
            _ if outputs.iter().any(|output| !is_float(output)) && outputs.len() < 3 => None,
            _ => Detector::recognise(input, outputs, stated == Some("detect")),
        };
        if let Some(detector) = detector {
            return Ok(Self::detection(detector, input));
        }
        if let [output] = outputs {
            if stated == Some("pose")
                && let Some(task) = pose(model, output)
            {
                return Ok(task);
            }
            let found = classification(input, output, labels)
                .or_else(|| segmentation(input, output, labels))
                .or_else(|| text(output, labels))
                .or_else(|| tokens(output));
            if let Some(task) = found {
                return Ok(task);
            }
        }
        Ok(Self {
            title: "unknown: the outputs are returned as they are".into(),
            plugin: "tensors-postprocess",
            settings: Vec::new(),
            labels: None,
            is_assumed: true,
            geometry: Vec::new(),
            normalisation: (Normalisation::Unit, "nothing says how the model was trained"),
        })
    }

    fn detection(detector: Detector, input: &ImageInput) -> Self {
        let Training { normalisation, letterbox, is_bgr, source } = detector.training;
        let mut geometry = Vec::new();
        if let Some(pad) = letterbox {
            geometry.push(Setting::assumed("resize", "letterbox", source));
            geometry.push(Setting::assumed("pad", pad, source));
        }
        if is_bgr && input.channels == 3 {
            geometry.push(Setting::assumed("channels", "bgr", source));
        }
        let is_assumed = detector.settings.iter().any(|setting| setting.key == "layout" && setting.is_assumed);
        Self {
            title: detector.classes.map_or("detection".into(), |classes| format!("detection ({classes} classes)")),
            plugin: "detect-postprocess",
            settings: detector.settings,
            labels: Some(("labels", detector.classes)),
            is_assumed,
            geometry,
            normalisation: (normalisation, source),
        }
    }
}

/// `[C]`, `[1, C]`, `[1, C, 1, 1]` or `[1, 1, C]`: scores of classes, or an embedding.
fn classification(input: &ImageInput, output: &Output, labels: Option<u64>) -> Option<Task> {
    let classes = match *output.shape {
        [classes] | [1, classes] | [1, classes, 1, 1] | [1, 1, classes] if classes > 1 => classes,
        _ => return None,
    };
    let name = output.name.to_lowercase();
    let operator = output.operator.as_deref();
    let is_probability = matches!(operator, Some("Softmax" | "Sigmoid"));
    let has_name = ["embed", "feature", "pooler", "vector"].iter().any(|part| name.contains(part));
    let is_normalised = matches!(operator, Some("LpNormalization"));
    // The usual lengths of embeddings. Few classifiers have so many classes.
    let has_length = matches!(classes, 128 | 256 | 384 | 512 | 768 | 1024 | 1280 | 1536 | 2048);
    let is_embedding = labels != Some(classes) && !is_probability && (has_name || is_normalised || has_length);
    let is_float = is_float_type(output.ty);
    if is_embedding && is_float {
        return Some(Task {
            title: format!("embedding ({classes} numbers)"),
            plugin: "embed-postprocess",
            settings: Vec::new(),
            labels: None,
            is_assumed: !(has_name || is_normalised),
            geometry: geometry(input),
            normalisation: torchvision(input),
        });
    }
    if !is_float {
        return None;
    }
    let scores = match is_probability {
        true => Setting::known("scores", "ready", format!("the model ends with {}", operator.unwrap_or_default())),
        false => Setting::known("scores", "softmax", "the model does not end with Softmax"),
    };
    Some(Task {
        title: format!("classification ({classes} classes)"),
        plugin: "classify-postprocess",
        settings: vec![scores],
        labels: Some(("labels", Some(classes))),
        is_assumed: labels != Some(classes) && !is_probability,
        geometry: geometry(input),
        normalisation: torchvision(input),
    })
}

/// Scores of pixels, or their classes.
fn segmentation(input: &ImageInput, output: &Output, labels: Option<u64>) -> Option<Task> {
    let is_map = |height: u64, width: u64| {
        height > 1
            && width > 1
            && height <= input.height
            && width <= input.width
            && height * input.width == width * input.height
    };
    let is_float = is_float_type(output.ty);
    let (layout, classes) = match *output.shape {
        [1, classes, height, width] if is_float && is_map(height, width) => ("nchw", classes),
        [1, height, width, classes] if is_float && is_map(height, width) => ("nhwc", classes),
        [1, height, width] | [1, 1, height, width] | [1, height, width, 1] if !is_float && is_map(height, width) => {
            ("classes", 0)
        }
        _ => return None,
    };
    // Three channels may also be an image.
    if classes == 3 && labels != Some(3) {
        return None;
    }
    let mut settings = vec![Setting::known("layout", layout, "the shape of the output")];
    if classes == 1 {
        let (threshold, reason) = match output.operator.as_deref() {
            Some("Sigmoid") => (0.5, "the model ends with Sigmoid"),
            _ => (0.0, "the model does not end with Sigmoid, so its scores are taken for logits"),
        };
        settings.push(Setting::assumed("threshold", threshold, reason));
    }
    Some(Task {
        title: match classes {
            0 => "segmentation".to_owned(),
            1 => "segmentation (1 class and the background)".to_owned(),
            classes => format!("segmentation ({classes} classes)"),
        },
        plugin: "segment-postprocess",
        settings,
        labels: Some(("labels", (classes > 1).then_some(classes))),
        is_assumed: labels != Some(classes) && layout != "classes",
        geometry: Vec::new(),
        normalisation: torchvision(input),
    })
}

/// The pose models of Ultralytics, whose metadata has the keypoints: `kpt_shape = "[17, 3]"`.
fn pose(model: &Description, output: &Output) -> Option<Task> {
    let text = model.metadata.get("kpt_shape")?;
    let numbers =
        text.trim_matches(['[', ']', '(', ')', ' ']).split(',').map(|number| number.trim().parse::<u64>().ok());
    let [keypoints, dimensions] = *numbers.collect::<Option<Vec<_>>>()? else { return None };
    let points = keypoints.checked_mul(dimensions)?;
    let (layout, classes) = match *output.shape {
        [1, numbers, boxes] if boxes > numbers && numbers > points + 4 => ("yolo", numbers - points - 4),
        [1, _, numbers] if numbers == points + 6 => ("end-to-end", 0),
        _ => return None,
    };
    let source = "as YOLO-pose is trained";
    let value = |number: u64| toml::Value::Integer(number.try_into().unwrap_or(i64::MAX));
    let mut settings = vec![
        Setting::known("layout", layout, format!("{keypoints} keypoints, from the model's metadata `kpt_shape`")),
        Setting::known("dimensions", value(dimensions), "the numbers of a keypoint, from the metadata"),
    ];
    if classes > 0 {
        settings.push(Setting::known("classes", value(classes), "the shape of the output"));
    }
    Some(Task {
        title: format!("poses ({keypoints} keypoints)"),
        plugin: "pose-postprocess",
        settings,
        labels: Some(("labels", (classes > 0).then_some(classes))),
        is_assumed: false,
        geometry: vec![Setting::assumed("resize", "letterbox", source), Setting::assumed("pad", 114, source)],
        normalisation: (Normalisation::Unit, source),
    })
}

/// `[1, T, C]` with a dictionary of C - 1 entries, or one less and a space.
fn text(output: &Output, labels: Option<u64>) -> Option<Task> {
    let (&[1, _, classes], Some(labels)) = (&*output.shape, labels) else { return None };
    if !is_float_type(output.ty) || !(labels + 1 == classes || labels + 2 == classes) {
        return None;
    }
    let source = "as PaddleOCR is trained";
    let is_ready = output.operator.as_deref() == Some("Softmax");
    let scores = if is_ready { "ready" } else { "softmax" };
    let mut settings = vec![
        Setting::known(
            "scores",
            scores,
            if is_ready { "the model ends with Softmax" } else { "the model does not end with Softmax" },
        ),
        Setting::assumed("blank", "first", source),
    ];
    if labels + 2 == classes {
        settings.push(Setting::known("space", true, "the model has one class more than the dictionary and the blank"));
    }
    Some(Task {
        title: format!("text recognition ({classes} classes)"),
        plugin: "text-postprocess",
        settings,
        labels: Some(("dictionary", Some(labels))),
        is_assumed: true,
        geometry: vec![Setting::assumed("channels", "bgr", source)],
        normalisation: (Normalisation::Symmetric, source),
    })
}

/// `last_hidden_state`: one vector for each token.
fn tokens(output: &Output) -> Option<Task> {
    let &[1, tokens, length] = &*output.shape else { return None };
    if output.name != "last_hidden_state" || tokens < 2 {
        return None;
    }
    Some(Task {
        title: format!("embedding ({length} numbers for each of {tokens} tokens)"),
        plugin: "embed-postprocess",
        settings: vec![Setting::assumed("pooling", "first", "the first token (CLS) stands for the image; or `mean`")],
        labels: None,
        is_assumed: false,
        geometry: Vec::new(),
        normalisation: (Normalisation::Imagenet, "as vision transformers of transformers are usually trained"),
    })
}

/// How torchvision prepares images for classifiers: `Resize(256)` and `CenterCrop(224)`, or the same ratio.
fn geometry(input: &ImageInput) -> Vec<Setting> {
    if input.is_nhwc || input.channels == 1 || input.width != input.height || input.width < 64 {
        return Vec::new();
    }
    let shorter = i64::try_from(input.width * 8 / 7).unwrap_or(i64::MAX);
    let source = "as torchvision's classifiers are trained";
    vec![Setting::assumed("resize", "crop", source), Setting::assumed("resize_shorter", shorter, source)]
}

/// The usual normalisation of models from PyTorch (channels first) and from TensorFlow (channels last).
fn torchvision(input: &ImageInput) -> (Normalisation, &'static str) {
    if input.is_nhwc {
        (Normalisation::Symmetric, "as most models of Keras are trained")
    } else if input.channels == 1 {
        (Normalisation::Unit, "usual for gray images")
    } else {
        (Normalisation::Imagenet, "as torchvision's models are trained")
    }
}

/// True for the types of scores that the shipped plugins read.
fn is_float_type(ty: TensorType) -> bool {
    matches!(ty, TensorType::Fp32 | TensorType::Fp16 | TensorType::Bf16 | TensorType::Fp64)
}
