//! Operators whose sizes depend on numbers. They are taken as large as they can be.

use rten_onnx::onnx::NodeProto;

use super::axes;
use super::value::Value;
use crate::node::Attributes;

/// The first output.
pub(super) fn first(node: &NodeProto, operator: &str, inputs: &[&Value]) -> Option<Value> {
    let dims = |index: usize| inputs.get(index)?.dims.as_ref();
    let integer = |index: usize| inputs.get(index)?.integer();
    let given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let count = |value: &Value| i64::try_from(value.count()?).ok();
    let most = |dims: Vec<i64>| Value::of_dims(dims).at_most();
    Some(match operator {
        // All elements can be other than 0.
        "NonZero" => most(vec![dims(0)?.len() as i64, count(inputs.first()?)?]),
        "Compress" => match node.int("axis") {
            Some(axis) => {
                axes::place(axis, dims(0)?.len())?;
                inputs[0].shape().at_most()
            }
            None => most(vec![count(inputs[0])?]),
        },
        "NonMaxSuppression" => {
            let (&[batch, boxes, _], &[_, classes, _]) = (dims(0)?.as_slice(), dims(1)?.as_slice()) else {
                return None;
            };
            // Without a limit, nothing is selected.
            let limit = if given(2) { integer(2).map_or(boxes, |limit| limit.clamp(0, boxes)) } else { 0 };
            most(vec![batch.checked_mul(classes)?.checked_mul(limit)?, 3])
        }
        // The loss of each element, or their mean.
        "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" => inputs[0].shape().at_most(),
        _ => return None,
    })
}

/// The outputs of a `Unique`: all elements can differ.
pub(super) fn unique(node: &NodeProto, input: &Value) -> Vec<Value> {
    let all = || {
        let dims = input.dims.as_ref()?;
        let count = match node.int("axis") {
            Some(axis) => dims[axes::place(axis, dims.len())?],
            None => i64::try_from(input.count()?).ok()?,
        };
        let list = Value::of_dims(vec![count]).at_most();
        let values = if node.int("axis").is_some() { input.shape().at_most() } else { list.clone() };
        // The places in the input are as many as its elements.
        Some(vec![values, list.clone(), list.clone(), list])
    };
    all().unwrap_or_default()
}
