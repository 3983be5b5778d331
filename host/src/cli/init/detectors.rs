//! Recognises the families of detectors by the shapes and names of their outputs (`layout` of `detect-postprocess`).

use super::image_input::ImageInput;
use super::normalisation::Normalisation;
use super::probe::Output;
use super::setting::Setting;

/// A family of detectors.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Detector {
    /// The settings of `detect-postprocess`.
    pub(in crate::cli) settings: Vec<Setting>,
    /// The number of classes; `None` if the outputs do not show it.
    pub(in crate::cli) classes: Option<u64>,
    /// How its training prepared images.
    pub(in crate::cli) training: Training,
}

/// How images were prepared for training, in the original implementation of a family.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Training {
    /// How values were normalised.
    pub(in crate::cli) normalisation: Normalisation,
    /// The border if the aspect ratio was kept; `None` if images were stretched.
    pub(in crate::cli) letterbox: Option<i64>,
    /// True if the channels were blue, green, red.
    pub(in crate::cli) is_bgr: bool,
    /// Whose training it is.
    pub(in crate::cli) source: &'static str,
}

const fn training(
    normalisation: Normalisation,
    letterbox: Option<i64>,
    is_bgr: bool,
    source: &'static str,
) -> Training {
    Training { normalisation, letterbox, is_bgr, source }
}

const YOLO: Training = training(Normalisation::Unit, Some(114), false, "as YOLOv5 to YOLO26 are trained");
const YOLOX: Training = training(Normalisation::Raw, Some(114), true, "as YOLOX is trained");
const SSD: Training = training(Normalisation::Symmetric, None, false, "as SSD of TensorFlow is trained");
const NMS: Training = training(Normalisation::Unit, Some(114), false, "as YOLO is trained");
const TORCHVISION: Training =
    training(Normalisation::Unit, Some(0), false, "as torchvision's detectors, which take 0 to 1 and fill up with 0");
const DETR: Training = training(Normalisation::Imagenet, None, false, "as DETR is trained");
const RT_DETR: Training = training(Normalisation::Unit, None, false, "as RT-DETR is trained");
const RETINANET: Training = training(Normalisation::Imagenet, None, false, "as RetinaNet of torchvision is trained");
const FASTESTDET: Training = training(Normalisation::Unit, None, true, "as FastestDet is trained");
const ULTRAFACE: Training =
    training(Normalisation::Symmetric, None, false, "similar to UltraFace, which uses (v - 127) / 128");

/// What is known about a detector, beside its outputs.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Evidence {
    /// True if the metadata says that Ultralytics exported it for detection.
    pub(in crate::cli) is_ultralytics: bool,
    /// The number of labels that the user or the model gives.
    pub(in crate::cli) labels: Option<u64>,
}

impl Evidence {
    /// Returns true if the form of the outputs with this number of classes is certain. Without metadata and labels, models
    /// with other numbers (angles, keypoints) have outputs of the same form.
    fn confirms(self, classes: u64) -> bool {
        self.is_ultralytics || self.labels == Some(classes)
    }
}

impl Detector {
    /// Recognises a detector. Returns `None` if the outputs are not those of a known family.
    pub(in crate::cli) fn recognise(input: &ImageInput, outputs: &[Output], evidence: Evidence) -> Option<Self> {
        match outputs {
            [output] => single(input, output, evidence),
            [a, b] => pair(input, a, b, evidence).or_else(|| pair(input, b, a, evidence)),
            // Exports of transformers have hidden states beside these.
            _ => match ["logits", "pred_boxes"].map(|name| outputs.iter().find(|output| output.name == name)) {
                [Some(scores), Some(boxes)] => pair(input, scores, boxes, evidence),
                _ => suppressed(outputs),
            },
        }
    }
}

/// Returns true if the output has the form of boxes for each cell, with numbers as its rows: `yolov8`, and the models of
/// the same family with more numbers.
pub(in crate::cli) fn has_rows_of_cells(input: &ImageInput, output: &Output) -> bool {
    let counts = [cells(input, &[8, 16, 32]), cells(input, &[8, 16, 32, 64])];
    matches!(*output.shape, [1, numbers, boxes] if numbers >= 5 && is_box_count(boxes, &counts) && boxes > numbers)
}

/// The cells of grids with these strides.
fn cells(input: &ImageInput, strides: &[u64]) -> u64 {
    strides.iter().map(|stride| (input.width / stride) * (input.height / stride)).sum()
}

fn layout(name: &str, reason: String, classes: Option<u64>, training: Training) -> Detector {
    Detector { settings: vec![Setting::known("layout", name, reason)], classes, training }
}

fn single(input: &ImageInput, output: &Output, evidence: Evidence) -> Option<Detector> {
    let is_ultralytics = evidence.is_ultralytics;
    let (small, large) = (cells(input, &[8, 16, 32]), cells(input, &[8, 16, 32, 64]));
    match *output.shape {
        [1, boxes, 6]
            if !is_box_count(boxes, &[small * 3, large * 3, small, large]) && (boxes <= 1_000 || is_ultralytics) =>
        {
            let mut detector = layout("end-to-end", format!("{boxes} rows of corners, score and class"), None, YOLO);
            detector.settings[0].is_assumed = !is_ultralytics;
            Some(detector)
        }
        [1, boxes, numbers] if numbers >= 6 && is_box_count(boxes, &[small * 3, large * 3]) => {
            let reason = format!("{boxes} boxes, 3 for each cell of its grids, with {numbers} numbers each");
            let mut detector = layout("yolov5", reason, Some(numbers - 5), YOLO);
            if !evidence.confirms(numbers - 5) {
                detector.assume(OTHER_NUMBERS);
            }
            // With one class, YOLOv7 reads the score in another way.
            if numbers == 6 {
                detector.settings[0].is_assumed = true;
                detector.settings[0].reason += "; for YOLOv7 with its one class use \"yolov7\"";
            }
            Some(detector)
        }
        // Ultralytics' own models have such outputs only transposed.
        [1, boxes, numbers] if numbers >= 6 && is_box_count(boxes, &[small, large]) && !is_ultralytics => {
            let reason = format!(
                "{boxes} boxes, one for each cell of its grids, with {numbers} numbers each; a transposed output of YOLOv8 \
                 has this form too, and no layout reads it"
            );
            let mut detector = layout("yolox", reason, Some(numbers - 5), YOLOX);
            detector.settings[0].is_assumed = true;
            if boxes == large && large != small {
                detector.settings.push(Setting::known("strides", vec![8_i64, 16, 32, 64], "the sizes of its grids"));
            }
            Some(detector)
        }
        [1, numbers, boxes]
            if has_rows_of_cells(input, output)
                || is_ultralytics
                    && numbers >= 5
                    && boxes > numbers
                    && evidence.labels.is_none_or(|it| it + 4 == numbers) =>
        {
            let reason = format!("{numbers} rows for {boxes} boxes, one for each cell of its grids");
            let mut detector = layout("yolov8", reason, Some(numbers - 4), YOLO);
            if !evidence.confirms(numbers - 4) {
                detector.assume(OTHER_NUMBERS);
            }
            Some(detector)
        }
        [1, numbers, height, width]
            if numbers >= 6
                && height * 16 == input.height
                && width * 16 == input.width
                && !input.is_nhwc
                && evidence.labels != Some(numbers) =>
        {
            let reason = format!("{numbers} numbers for each cell of a grid of {width}x{height}");
            let mut detector = layout("fastestdet", reason, Some(numbers - 5), FASTESTDET);
            detector.settings[0].is_assumed = true;
            Some(detector)
        }
        _ => None,
    }
}

fn is_box_count(boxes: u64, expected: &[u64]) -> bool {
    expected.contains(&boxes)
}

impl Detector {
    /// Marks the layout as not certain, with the reason.
    fn assume(&mut self, reason: &str) {
        self.settings[0].is_assumed = true;
        self.settings[0].reason += reason;
    }
}

/// Why `yolov5` and `yolov8` are not certain without metadata and labels.
const OTHER_NUMBERS: &str = "; models for oriented boxes (OBB), poses or masks have outputs of this form, too, with more \
    numbers than classes: --labels tells";
/// Why `retinanet` is never certain.
const OTHER_ANCHORS: &str = "; those of detectron2 and keras-retinanet have as many boxes, but other anchors, and need \
    another plugin";
/// Why `detr` and `rt-detr` are not certain without labels.
const DETR_OR_RT_DETR: &str = "; \"detr\" if the last score means \"no object\" (softmax), \"rt-detr\" if each score is for \
    itself (sigmoid): --labels tells";

/// Why `decoded` is never certain.
const CORNERS: &str = "; the boxes are read as x1, y1, x2, y2 in fractions of the input";
/// Why `nms` is never certain.
const CORNERS_IN_PIXELS: &str = "; the boxes are read as x1, y1, x2, y2 in pixels of the input (in fractions: \
    coordinates = \"fractions\"); \"ssd\" if they are y1, x1, y2, x2, as TensorFlow's are";
/// Why `first_class` is not certain.
const FIRST_CLASS: &str = "the class index of the first label; 1 if 0 is the background, as in torchvision's models";
/// Why `first_class` is 1 for outputs with the names and forms of torchvision's detectors.
const AFTER_BACKGROUND: &str = "the class index of the first label: 0 is the background in torchvision's detectors, whose names \
    and forms these outputs have; 0 for a model that has none";

/// Scores [1, N, C] and boxes [1, N, 4].
fn pair(input: &ImageInput, scores: &Output, boxes: &Output, evidence: Evidence) -> Option<Detector> {
    let (&[1, rows, classes], &[1, box_rows, 4]) = (&*scores.shape, &*boxes.shape) else { return None };
    if rows != box_rows || classes == 0 {
        return None;
    }
    // With four classes, only the names distinguish scores from boxes.
    if classes == 4 && !boxes.name.to_lowercase().contains("box") {
        return None;
    }
    let looks_so = scores.values.are_probabilities() && !scores.is_named_logits();
    let is_probability = matches!(scores.operator.as_deref(), Some("Softmax" | "Sigmoid")) || looks_so;
    // The boxes of DETR and its relatives are centre and size; `decoded` reads corners.
    if is_probability && boxes.name == "pred_boxes" {
        return None;
    }
    // A grid covers the whole input, as in `detect-postprocess`.
    let grids = [8, 16, 32, 64, 128].map(|stride| input.width.div_ceil(stride) * input.height.div_ceil(stride));
    let anchors = grids.iter().sum::<u64>() * 9;
    // DETR has one score more than classes: "no object". RT-DETR has none.
    let is_detr = match evidence.labels {
        Some(labels) if labels + 1 == classes => true,
        Some(labels) if labels == classes => false,
        _ => rows == 100 && classes > 1,
    };
    let has_its_names = boxes.name == "pred_boxes";
    let is_told = evidence.labels.is_some_and(|labels| labels == classes || labels + 1 == classes);
    let (name, reason, count, training, doubt) = if is_probability {
        ("decoded", format!("{rows} rows of probabilities and of boxes"), classes, ULTRAFACE, Some(CORNERS))
    } else if rows == anchors {
        let reason = format!("{rows} boxes, 9 for each cell of its grids, as torchvision's RetinaNet");
        ("retinanet", reason, classes, RETINANET, Some(OTHER_ANCHORS))
    } else if rows <= 1_000 {
        let reason = format!("{rows} queries");
        let doubt = (!(has_its_names && is_told)).then_some(DETR_OR_RT_DETR);
        match is_detr {
            true => ("detr", reason, classes - 1, DETR, doubt),
            false => ("rt-detr", reason, classes, RT_DETR, doubt),
        }
    } else {
        ("decoded", format!("{rows} rows of scores and of boxes"), classes, ULTRAFACE, Some(CORNERS))
    };
    let mut detector = layout(name, reason, Some(count), training);
    if let Some(doubt) = doubt {
        detector.assume(doubt);
    }
    detector.settings.push(Setting::known("scores", scores.name.clone(), "the output with the scores"));
    detector.settings.push(Setting::known("boxes", boxes.name.clone(), "the output with the boxes"));
    if name == "decoded" {
        let background = if classes > 1 { 0 } else { -1 };
        let reason = "the class that means \"no object\"; -1 if the model has none";
        detector.settings.push(Setting::assumed("background_class", background, reason));
    }
    Some(detector)
}

/// Models with suppression inside: boxes [1, N, 4], scores [1, N], classes [1, N] and perhaps their number, as TensorFlow's
/// detectors end, those of torchvision (without the first dimension), and YOLO with EfficientNMS.
fn suppressed(outputs: &[Output]) -> Option<Detector> {
    let boxes = outputs.iter().find(|output| matches!(*output.shape, [1, _, 4]));
    let boxes = boxes.or_else(|| outputs.iter().find(|output| matches!(*output.shape, [_, 4])))?;
    let of_all = boxes.shape.strip_suffix(&[4])?;
    let is_named = |output: &Output, parts: &[&str]| parts.iter().any(|part| output.name.to_lowercase().contains(part));
    let (of_scores, of_classes) = (&["score"][..], &["class", "label"][..]);
    let named = |parts: &[&str], others: &[&str]| {
        let is_it = |output: &&Output| output.shape == of_all && is_named(output, parts) && !is_named(output, others);
        outputs.iter().find(is_it)
    };
    let (scores, classes) = (named(of_scores, of_classes)?, named(of_classes, of_scores)?);
    let is_count = |output: &&Output| output.shape.iter().all(|size| *size == 1) && is_named(output, &["num", "count"]);
    let count = outputs.iter().find(is_count);
    // A further output may say which rows are valid.
    if outputs.len() > 3 + usize::from(count.is_some()) && !boxes.name.starts_with("detection_boxes") {
        return None;
    }
    let (reason, rows) = (format!("{} boxes with scores and classes", of_all.last()?), of_all.len());
    let mut detector = match boxes.name.starts_with("detection_boxes") && rows == 2 {
        true => layout("ssd", reason, None, SSD),
        false => layout("nms", reason + CORNERS_IN_PIXELS, None, NMS),
    };
    let is_of_tensorflow = detector.settings[0].value == "\"ssd\"";
    detector.settings[0].is_assumed = !is_of_tensorflow;
    for (key, output) in [("scores", scores), ("boxes", boxes), ("classes", classes)] {
        detector.settings.push(Setting::known(key, output.name.clone(), format!("the output with the {key}")));
    }
    let count = count.map_or("", |count| &count.name);
    let reason = "the output with the number of boxes; empty if there is none";
    detector.settings.push(Setting::known("count", count, reason));
    if !is_of_tensorflow {
        let is_of_torchvision =
            rows == 1 && (boxes.name.as_str(), &*scores.name, &*classes.name) == ("boxes", "scores", "labels");
        let (first, reason) = if is_of_torchvision { (1, AFTER_BACKGROUND) } else { (0, FIRST_CLASS) };
        if is_of_torchvision {
            detector.training = TORCHVISION;
        }
        detector.settings.push(Setting::assumed("first_class", first, reason));
    }
    Some(detector)
}
