//! Operators that split or join the elements along an axis, and lists of what all rows have.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::layout::from_front;
use super::size::Size;
use super::value::{Rows, Value, free_or_unknown, mixed};
use crate::node::Attributes;

/// The results of all rows in one list.
pub(super) fn listed(inputs: &[&Value], why: &str) -> Value {
    match inputs.iter().any(|input| matches!(input.rows, Rows::Along(_))) {
        true => Value::new(Rows::Listed(why.into()), None),
        false => free_or_unknown(inputs, why),
    }
}

/// True for a constant that is one number, or an absent input.
pub(super) fn is_one_number(value: &Value) -> bool {
    let one = value.sizes.as_ref().map(|sizes| Size::product(sizes));
    value.is_free() && one.is_none_or(|size| size == Some(Size::number(1)))
}

/// True if no size can be 1 in one run and larger in another.
pub(super) fn has_fixed_axes(value: &Value) -> bool {
    value.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|size| size.as_number().is_some()))
}

/// The parts of a `Split`.
pub(super) fn split(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Vec<Value> {
    let count = node.output.len();
    let Some(input) = inputs.first() else { return vec![Value::unknown("is not valid"); count] };
    if inputs.get(1).is_some_and(|parts| !parts.is_free()) {
        return vec![Value::unknown("splits by numbers in the request"); count];
    }
    let axis = node.int_or("axis", 0);
    let part = across(proof, input, axis, "splits rows");
    let given = node.ints("split").map(<[i64]>::to_vec).or_else(|| inputs.get(1)?.numbers());
    let at = input.rank().and_then(|rank| from_front(axis, rank));
    let whole = at.and_then(|at| input.size(at)?.as_number());
    (0..count)
        .map(|index| {
            let mut part = part.clone();
            let size = match (&given, whole) {
                (Some(given), _) => given.get(index).copied(),
                (None, Some(whole)) if inputs.len() < 2 && whole % count as i64 == 0 => Some(whole / count as i64),
                _ => None,
            };
            if let (Some(sizes), Some(at), Some(size)) = (&mut part.sizes, at, size) {
                sizes[at] = Size::number(size);
            }
            part
        })
        .collect()
}

/// Normalisation from `axis` to the last one. The first output is like the input; the others have one number where it was
/// normalised.
pub(super) fn layer_normalization(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Vec<Value> {
    let count = node.output.len();
    let Some((input, weights)) = inputs.split_first() else { return vec![Value::unknown("is not valid"); count] };
    let normal = match (&input.rows, input.rank()) {
        _ if weights.iter().any(|weight| !weight.is_free()) => Value::unknown("has weights that are not constant"),
        (Rows::Along(rows), Some(rank)) => match from_front(node.int_or("axis", -1), rank) {
            Some(axis) if *rows < axis => (*input).clone(),
            _ => mixed("normalises rows together"),
        },
        _ => proof.without_sizes(input, "normalises a value of unknown rank"),
    };
    let others = Value { sizes: None, ..normal.clone() };
    std::iter::once(normal).chain(std::iter::repeat(others)).take(count).collect()
}

/// A value with the sizes of the input.
pub(super) fn same_sizes(input: &Value, value: Value) -> Value {
    Value { sizes: input.sizes.clone(), ..value }
}

/// The result of an operator that joins the elements along one axis, of which the size becomes unknown.
pub(super) fn across(proof: &mut Proof, input: &Value, axis: i64, why: &str) -> Value {
    let Some(mut sizes) = input.sizes.clone() else {
        return proof.without_sizes(input, "works along an axis whose position is not known");
    };
    let Some(axis) = from_front(axis, sizes.len()) else { return Value::unknown("is not valid") };
    if input.rows == Rows::Along(axis) {
        return mixed(why);
    }
    sizes[axis] = proof.symbol();
    Value::new(input.rows.clone(), Some(sizes))
}
