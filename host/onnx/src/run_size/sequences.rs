//! Sequences of tensors. They are described by their length and the largest sizes of their tensors.

use rten_onnx::onnx::NodeProto;

use super::axes;
use super::value::Value;
use crate::node::Attributes;

/// The output of an operator that takes or returns a sequence.
pub(super) fn output(node: &NodeProto, operator: &str, inputs: &[&Value]) -> Option<Value> {
    let length = |index: usize| inputs.get(index)?.length;
    Some(match operator {
        "SequenceEmpty" => Value::sequence(0, None),
        "SequenceConstruct" => sequence_of(i64::try_from(inputs.len()).ok()?, inputs),
        "SequenceInsert" => {
            let longer = length(0)?.saturating_add(1);
            match length(0)? {
                0 => sequence_of(longer, &inputs[1..2]),
                _ => sequence_of(longer, &[&Value::of(inputs[0].dims.clone()), inputs[1]]),
            }
        }
        "SequenceErase" => Value { length: Some((length(0)? - 1).max(0)), ..inputs[0].shape() },
        "SequenceAt" => Value { length: None, ..inputs[0].shape().at_most() },
        "SequenceLength" => Value { is_most: inputs[0].is_most, ..Value::scalar(length(0)? as f64) },
        "SplitToSequence" => split(node, inputs)?,
        "ConcatFromSequence" => {
            let (length, mut dims) = (length(0)?, inputs[0].dims.clone()?);
            let is_new = node.int_or("new_axis", 0) == 1;
            let axis = axes::place(node.int_or("axis", 0), dims.len() + usize::from(is_new))?;
            if is_new {
                dims.insert(axis, length);
            } else {
                dims[axis] = dims[axis].saturating_mul(length);
            }
            Value::of_dims(dims).at_most()
        }
        _ => return None,
    })
}

/// A sequence of tensors, of which the largest sizes are kept.
fn sequence_of(length: i64, tensors: &[&Value]) -> Value {
    let largest = tensors.iter().map(|tensor| (*tensor).clone()).reduce(|one, other| one.larger(&other));
    let largest = largest.unwrap_or_default();
    Value { is_most: largest.is_most, ..Value::sequence(length, largest.dims) }
}

fn split(node: &NodeProto, inputs: &[&Value]) -> Option<Value> {
    let mut dims = inputs[0].dims.clone()?;
    let axis = axes::place(node.int_or("axis", 0), dims.len())?;
    let size = dims[axis];
    let given = node.input.get(1).is_some_and(|name| !name.is_empty());
    if !given && node.int_or("keepdims", 1) == 0 {
        dims.remove(axis);
        return Some(Value::sequence(size, Some(dims)));
    }
    let parts = if given { inputs[1].integers() } else { Some(vec![1]) };
    let length = match parts.as_deref() {
        Some(&[part]) if inputs[1..].first().is_none_or(|parts| parts.rank() == Some(0)) => {
            dims[axis] = part.min(size);
            (part > 0).then(|| size.saturating_add(part - 1) / part)?
        }
        Some(parts) => {
            dims[axis] = parts.iter().copied().max().unwrap_or(0);
            i64::try_from(parts.len()).ok()?
        }
        // There may be as many parts as elements, or a part as large as the whole, but not both. So nothing is assumed.
        None => return None,
    };
    Some(Value::sequence(length, Some(dims)))
}
