//! Sequences of tensors. A sequence that has one tensor for each row is a list of all rows, see `taint`.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::layout::from_front;
use super::value::{Rows, Value, mixed};
use crate::node::Attributes;

/// The result of an operator on sequences; `None` for another one.
pub(super) fn sequence(proof: &mut Proof, node: &NodeProto, operator: &str, inputs: &[&Value]) -> Option<Value> {
    let first = inputs.first().copied();
    Some(match (operator, first) {
        ("SequenceEmpty", _) => Value::unknown("is a sequence that is filled later"),
        ("SplitToSequence", Some(input)) => split(proof, node, input, inputs.get(1).is_some_and(|it| !it.is_free())),
        ("SequenceConstruct", Some(input)) => inputs[1..].iter().fold(input.clone(), |one, &other| {
            proof.join(one, other.clone(), &mut Vec::new(), "joins values with other rows")
        }),
        ("SequenceAt", Some(input)) => match inputs.get(1) {
            Some(at) if at.is_free() => input.clone(),
            _ => Value::unknown("takes a tensor by a number in the request"),
        },
        ("SequenceErase", Some(input)) if inputs.get(1).is_none_or(|at| at.is_free()) => input.clone(),
        ("SequenceInsert", Some(input)) if inputs.get(2).is_none_or(|at| at.is_free()) => {
            let added = inputs.get(1).map_or_else(|| Value::unknown("is not valid"), |&added| added.clone());
            proof.join(input.clone(), added, &mut Vec::new(), "joins values with other rows")
        }
        ("SequenceLength", Some(input)) => match &input.rows {
            Rows::Free | Rows::Along(_) => Value::new(Rows::Free, Some(Vec::new())),
            other => Value::new(other.clone(), None),
        },
        ("ConcatFromSequence", Some(input)) => concat(proof, node, input),
        _ => return None,
    })
}

fn split(proof: &mut Proof, node: &NodeProto, input: &Value, has_dynamic_parts: bool) -> Value {
    let Some(sizes) = &input.sizes else { return proof.without_sizes(input, "splits a value of unknown rank") };
    let Some(axis) = from_front(node.int_or("axis", 0), sizes.len()) else { return Value::unknown("is not valid") };
    if input.rows == Rows::Along(axis) {
        return Value::new(Rows::Listed("makes a list of the rows".into()), None);
    }
    if has_dynamic_parts {
        return Value::unknown("splits by numbers in the request");
    }
    let mut sizes = sizes.clone();
    let is_removed = node.int_or("keepdims", 1) == 0 && node.input.len() < 2;
    if is_removed {
        sizes.remove(axis);
    } else {
        sizes[axis] = proof.symbol();
    }
    let rows = match input.rows {
        Rows::Along(place) if is_removed && place > axis => Rows::Along(place - 1),
        ref other => other.clone(),
    };
    Value::new(rows, Some(sizes))
}

fn concat(proof: &mut Proof, node: &NodeProto, input: &Value) -> Value {
    let is_new = node.int_or("new_axis", 0) == 1;
    let Some(sizes) = &input.sizes else { return proof.without_sizes(input, "joins values of unknown rank") };
    let Some(axis) = from_front(node.int_or("axis", 0), sizes.len() + usize::from(is_new)) else {
        return Value::unknown("is not valid");
    };
    let mut sizes = sizes.clone();
    if is_new {
        sizes.insert(axis, proof.symbol());
    } else if input.rows == Rows::Along(axis) {
        return mixed("joins rows");
    } else {
        sizes[axis] = proof.symbol();
    }
    let rows = match input.rows {
        Rows::Along(place) if is_new && place >= axis => Rows::Along(place + 1),
        ref other => other.clone(),
    };
    Value::new(rows, Some(sizes))
}
