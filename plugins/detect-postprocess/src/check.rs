//! Checks that the model's outputs are the scores and boxes that this plugin decodes. At deployment the shapes are the
//! declared ones, in which `None` is a dynamic size; for a request all sizes are known.

use plimsoll_sdk::model::{self, Declared, shape_text};

/// The part of the configuration that the outputs must match.
pub struct Expected<'a> {
    /// The name of the output with the scores.
    pub scores: &'a str,
    /// The name of the output with the boxes.
    pub boxes: &'a str,
    /// The number of labels, if labels are configured.
    pub labels: Option<usize>,
    /// The class that means "no object", if the model has one.
    pub background: Option<usize>,
}

/// Checks the declared outputs of the model.
///
/// # Errors
/// If the plugin cannot decode them. The message says how to fix it.
pub fn declared(outputs: &[Declared], expected: &Expected) -> Result<(), String> {
    let scores = declared_output(outputs, "scores", expected.scores)?;
    let boxes = declared_output(outputs, "boxes", expected.boxes)?;
    // An output without a declared shape is treated as one of the right rank with dynamic sizes.
    let any = || vec![None; 3];
    let shape = |output: &Declared| output.shape.clone().unwrap_or_else(any);
    classes(expected, &shape(scores), &shape(boxes)).map(|_| ())
}

/// The declared output with the name that the configuration key `key` has. Checks its element type.
fn declared_output<'a>(outputs: &'a [Declared], key: &str, name: &str) -> Result<&'a Declared, String> {
    let found = model::find(outputs, name).ok_or_else(|| {
        format!(
            "the model has no output `{name}`; its outputs are: {}. Set the configuration key `{key}` to the output \
             with the {key}, or use another postprocess plugin",
            model::names(outputs)
        )
    })?;
    match found.element_type.as_deref() {
        None | Some("fp32") => Ok(found),
        Some(other) => Err(format!(
            "output `{name}` has elements of type {other}, but {key} must have the type fp32: set the configuration \
             key `{key}` to the output with the {key}, or export the model with {key} of type fp32"
        )),
    }
}

/// Checks the shapes of the two outputs and returns the number of classes, `None` if it is dynamic.
///
/// # Errors
/// If the shapes are not `[1, N, C]` and `[1, N, 4]`, or if C does not match the labels or the background class. The
/// message names the outputs.
pub fn classes(expected: &Expected, scores: &[Option<u32>], boxes: &[Option<u32>]) -> Result<Option<usize>, String> {
    let can_be = |size: Option<u32>, wanted: u32| size.is_none_or(|size| size == wanted);
    let classes = match (scores, boxes) {
        (&[image, anchors, classes], &[boxes_image, boxes_anchors, corners])
            if can_be(image, 1)
                && can_be(boxes_image, 1)
                && anchors.is_none_or(|anchors| can_be(boxes_anchors, anchors))
                && classes != Some(0)
                && can_be(corners, 4) =>
        {
            classes.map(|classes| classes as usize)
        }
        _ => {
            return Err(format!(
                "expected scores of shape [1, N, C] and boxes of shape [1, N, 4], but output `{}` has the shape {} and \
                 output `{}` has the shape {}: set the configuration keys `scores` and `boxes` to the right outputs, \
                 or use another postprocess plugin if the model returns its boxes in another form",
                expected.scores,
                shape_text(scores),
                expected.boxes,
                shape_text(boxes)
            ));
        }
    };
    classes.map_or(Ok(()), |classes| check_classes(expected, classes))?;
    Ok(classes)
}

fn check_classes(expected: &Expected, classes: usize) -> Result<(), String> {
    let output = expected.scores;
    if let Some(labels) = expected.labels.filter(|&labels| labels != classes) {
        return Err(format!(
            "output `{output}` has the scores of {classes} classes, but the configured file of labels has {labels} \
             labels: use the labels of this model, including the label of the background class"
        ));
    }
    match expected.background {
        Some(background) if background >= classes => Err(format!(
            "configuration key `background_class`: output `{output}` has the scores of {classes} classes, so there is \
             no class {background}: set the key to the index of the background class, or to -1 if there is none"
        )),
        // Otherwise every reply would be without detections.
        Some(0) if classes == 1 => Err(format!(
            "configuration key `background_class`: output `{output}` has the scores of a single class, so it cannot be \
             the background (the default is 0): set the key to -1"
        )),
        _ => Ok(()),
    }
}

/// Checks that all scores and coordinates are finite. NaN or infinity means that the model or its preprocessing is
/// wrong, so the other boxes are not trusted either.
///
/// # Errors
/// If a number is NaN or infinite. The message names the output and the index.
pub fn numbers(expected: &Expected, scores: &[f32], classes: usize, boxes: &[f32]) -> Result<(), String> {
    if let Some(index) = first_not_finite(scores) {
        return Err(format!(
            "output `{}`: the score of box {} for class {} is not a finite number ({})",
            expected.scores,
            index / classes,
            index % classes,
            scores[index]
        ));
    }
    if let Some(index) = first_not_finite(boxes) {
        return Err(format!(
            "output `{}`: coordinate {} of box {} is not a finite number ({})",
            expected.boxes,
            ["x1", "y1", "x2", "y2"][index % 4],
            index / 4,
            boxes[index]
        ));
    }
    Ok(())
}

/// The index of the first number that is NaN or infinite.
fn first_not_finite(numbers: &[f32]) -> Option<usize> {
    // Without an early exit the compiler uses SIMD instructions.
    let are_finite = numbers.iter().fold(true, |are_finite, number| are_finite & number.is_finite());
    if are_finite { None } else { numbers.iter().position(|number| !number.is_finite()) }
}
