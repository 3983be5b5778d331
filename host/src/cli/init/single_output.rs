//! Recognises the task of a model by its only output: classes, an embedding, a map, poses, text or tokens.

use plimsoll_runtime::nn::Description;

use super::image_input::ImageInput;
use super::normalisation::Normalisation;
use super::probe::Output;
use super::setting::Setting;
use super::task::{Task, scores};
use super::values::{Values, is_float_type};

/// The names of numbers that are not scores of classes.
const NO_CLASSES: &[&str] = &[
    "angle",
    "bbox",
    "box",
    "coord",
    "coordinate",
    "gaze",
    "joint",
    "keypoint",
    "kpt",
    "landmark",
    "point",
    "pose",
    "pt",
];

/// `[C]`, `[1, C]`, `[1, C, 1, 1]` or `[1, 1, C]`: scores of classes, or an embedding.
pub(in crate::cli) fn classification(input: &ImageInput, output: &Output, labels: Option<u64>) -> Option<Task> {
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
    let is_distribution = output.values == Values::Distribution;
    let has_length = has_length && !is_distribution;
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
    if output.is_named(NO_CLASSES) && labels != Some(classes) && !is_probability {
        return Some(Task::as_they_are(
            &format!("{classes} numbers that are no scores, by the name of the output"),
            true,
        ));
    }
    Some(Task {
        title: format!("classification ({classes} classes)"),
        plugin: "classify-postprocess",
        settings: vec![scores(output, &["Softmax", "Sigmoid"])],
        labels: Some(("labels", Some(classes))),
        is_assumed: labels != Some(classes) && !(is_probability || is_distribution),
        geometry: geometry(input),
        normalisation: torchvision(input),
    })
}

/// The classifiers of Ultralytics, whose metadata has the task: its `classify_transforms` resizes the shorter side to that of
/// the input, and does not normalise.
pub(in crate::cli) fn of_ultralytics(task: Task, input: &ImageInput) -> Task {
    let source = "as YOLO-cls is trained";
    let shorter = i64::try_from(input.width.max(input.height)).unwrap_or(i64::MAX);
    Task {
        geometry: vec![Setting::assumed("resize", "crop", source), Setting::assumed("resize_shorter", shorter, source)],
        normalisation: (Normalisation::Unit, source),
        ..task
    }
}

/// Scores of pixels, or their classes.
pub(in crate::cli) fn segmentation(input: &ImageInput, output: &Output, labels: Option<u64>) -> Option<Task> {
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
    if let [1, a, b, c] = *output.shape
        && is_map(a, b)
        && is_map(b, c)
    {
        settings[0].is_assumed = true;
        settings[0].reason = "the shape of the output fits, and that of \"nhwc\" would too".into();
    }
    if classes == 1 {
        let (threshold, reason) = match output.operator.as_deref() {
            Some("Sigmoid") => (0.5, "the model ends with Sigmoid"),
            _ if output.values.are_probabilities() => (
                0.5,
                "the scores of the bundled sample are from 0 to 1, so they are taken for probabilities; 0.0 for logits",
            ),
            _ => {
                (0.0, "the model does not end with Sigmoid, so its scores are taken for logits; 0.5 for probabilities")
            }
        };
        settings.push(Setting::assumed("threshold", threshold, reason));
    }
    // An image has no labels.
    if classes > 1 && labels == Some(classes) || classes == 0 && labels.is_some() {
        settings.push(Setting::known(
            "format",
            "rle",
            "a segment for each label; or \"polygons\"; \"png\" has no labels",
        ));
    }
    Some(Task {
        title: match classes {
            0 => "segmentation".to_owned(),
            1 => "segmentation (1 class and the background)".to_owned(),
            classes => format!("segmentation ({classes} classes)"),
        },
        plugin: "segment-postprocess",
        settings,
        labels: match classes {
            // With one channel there are two classes, and the first one is the background.
            1 => None,
            _ => Some(("labels", (classes > 1).then_some(classes))),
        },
        is_assumed: labels.is_none() || classes > 0 && labels != Some(classes),
        geometry: Vec::new(),
        normalisation: torchvision(input),
    })
}

/// The pose models of Ultralytics, whose metadata has the keypoints: `kpt_shape = "[17, 3]"`.
pub(in crate::cli) fn pose(model: &Description, output: &Output) -> Option<Task> {
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
pub(in crate::cli) fn text(output: &Output, labels: Option<u64>) -> Option<Task> {
    let (&[1, _, classes], Some(labels)) = (&*output.shape, labels) else { return None };
    if !is_float_type(output.ty) || !(labels + 1 == classes || labels + 2 == classes) {
        return None;
    }
    let source = "as PaddleOCR is trained";
    let mut settings = vec![scores(output, &["Softmax"]), Setting::assumed("blank", "first", source)];
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
pub(in crate::cli) fn tokens(output: &Output) -> Option<Task> {
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

/// A vector beside the vectors of tokens, as exports of transformers return it.
pub(in crate::cli) fn vector_beside_tokens(input: &ImageInput, outputs: &[Output]) -> Option<Task> {
    let of_tokens = |output: &&Output| output.shape.len() == 3 && output.is_named(&["state"]);
    let vectors: Vec<_> = outputs.iter().filter(|output| !of_tokens(output)).collect();
    let named = |words: &[&str]| vectors.iter().find(|output| output.is_named(words)).copied();
    // The projection of CLIP is computed from the pooled vector.
    let output = named(&["embed", "embedding"]).or_else(|| named(&["pooler"]))?;
    let &[1, length] = &*output.shape else { return None };
    let is_known = vectors.iter().all(|output| output.is_named(&["embed", "embedding", "pooler"]));
    if vectors.len() == outputs.len() || !is_known || length < 2 || !is_float_type(output.ty) {
        return None;
    }
    let reason = "the vector of the image; the other outputs are not returned";
    Some(Task {
        title: format!("embedding ({length} numbers)"),
        plugin: "embed-postprocess",
        settings: vec![Setting::assumed("output", output.name.clone(), reason)],
        labels: None,
        is_assumed: false,
        geometry: geometry(input),
        normalisation: torchvision(input),
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
pub(in crate::cli) fn torchvision(input: &ImageInput) -> (Normalisation, &'static str) {
    if input.is_nhwc {
        (Normalisation::Symmetric, "as most models of Keras are trained")
    } else if input.channels == 1 {
        (Normalisation::Unit, "usual for gray images")
    } else {
        (Normalisation::Imagenet, "as torchvision's models are trained")
    }
}
