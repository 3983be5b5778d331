//! Checks that an output contains the scores of one image. At deployment the shape is the declared one, in which `None`
//! is a dynamic size; for a request all sizes are known.

use crate::outputs::FLOATS;
use plimsoll_sdk::model::{self, Declared, shape_text};

/// The number of classes, or `None` if `shape` does not determine it.
///
/// The scores of one image have the shape `[C]`, or a first dimension of 1 (the image) and at most one other dimension
/// that is larger than 1: `[1, C]`, `[1, C, 1, 1]`, `[1, 1, C]`. A shape like `[8, 1]` is rejected, because it may be
/// one score for each of 8 images.
///
/// # Errors
/// If `shape` cannot be the shape of the scores of one image. The message names the output and suggests solutions.
pub fn classes(output: &str, shape: &[Option<u32>]) -> Result<Option<usize>, String> {
    let sizes = match shape {
        [_] => shape,
        [None | Some(1), rest @ ..] => rest,
        _ => &[],
    };
    let mut large = sizes.iter().flatten().filter(|&&size| size > 1);
    let largest = large.next();
    if sizes.is_empty() || sizes.contains(&Some(0)) || large.next().is_some() {
        return Err(format!(
            "output `{output}` has the shape {}, but the scores of one image have the shape [C], [1, C], [1, C, 1, 1] \
             or [1, 1, C] with C classes: set the configuration key `output` to the output with the scores, or use \
             another postprocess plugin if the model is not a classifier of whole images",
            shape_text(shape)
        ));
    }
    match largest {
        Some(&size) => Ok(Some(size as usize)),
        None if sizes.contains(&None) => Ok(None),
        None => Ok(Some(1)),
    }
}

/// Checks that the number of classes suits the configuration. `labels` is the number of labels; `is_softmax` is true if
/// the scores are logits.
///
/// # Errors
/// If it does not suit. The message names the output.
pub fn check_classes(output: &str, classes: usize, labels: Option<usize>, is_softmax: bool) -> Result<(), String> {
    if let Some(labels) = labels.filter(|&labels| labels != classes) {
        return Err(format!(
            "output `{output}` has the scores of {classes} classes, but the configured file of labels has {labels} \
             labels: use the labels of this model"
        ));
    }
    if classes == 1 && is_softmax {
        return Err(format!(
            "output `{output}` has a single score, and the softmax of a single score is always 1: set the \
             configuration key `scores` to `ready` if the score is a probability, or use another postprocess plugin"
        ));
    }
    Ok(())
}

/// Checks the declared outputs of the model. `output` is the configured name, empty if not configured.
///
/// # Errors
/// If the plugin cannot decode the output. The message says how to fix it.
pub fn check_declared(
    outputs: &[Declared],
    output: &str,
    labels: Option<usize>,
    is_softmax: bool,
) -> Result<(), String> {
    let Some(found) = model::find(outputs, output) else {
        let problem = match output {
            "" => "the model does not have exactly one output".to_owned(),
            _ => format!("the model has no output `{output}`"),
        };
        return Err(format!(
            "{problem}; its outputs are: {}. Set the configuration key `output` to the output with the scores",
            model::names(outputs)
        ));
    };
    let name = &found.name;
    if let Some(other) = found.element_type.as_deref().filter(|ty| !FLOATS.contains(ty)) {
        return Err(format!(
            "output `{name}` has elements of type {other}, but scores must have the type {}: set the configuration \
             key `output` to the output with the scores, or export the model with scores of type fp32",
            FLOATS.join(", ")
        ));
    }
    let Some(shape) = &found.shape else { return Ok(()) };
    match classes(name, shape)? {
        Some(classes) => check_classes(name, classes, labels, is_softmax),
        None => Ok(()),
    }
}
