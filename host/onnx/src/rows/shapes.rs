//! Operators that compute with sizes, as exporters do around a reshape.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::size::Size;
use super::value::{Rows, Value, free_or_unknown, mixed};
use crate::node::Attributes;
use crate::tensor;

/// A short list of one integer, as exporters write it to compute shapes.
pub(super) fn repeated(node: &NodeProto, sizes: &[Size]) -> Option<Vec<Size>> {
    let [length] = sizes else { return None };
    let length = length.as_number().and_then(|length| usize::try_from(length).ok()).filter(|&length| length <= 32)?;
    let value = tensor::integers(node.attribute("value")?.t.as_ref()?)?;
    Some(vec![Size::number(*value.first()?); length])
}

/// Integers chosen by a condition, if it is known.
pub(super) fn chosen(inputs: &[&Value]) -> Option<Value> {
    let [condition, yes, no] = inputs else { return None };
    let condition = condition.numbers()?;
    let (yes, no) = (yes.elements.as_ref()?, no.elements.as_ref()?);
    let length = condition.len().max(yes.len()).max(no.len());
    let element = |list: &[Size], at: usize| list.get(if list.len() == 1 { 0 } else { at }).cloned();
    let elements: Option<Vec<Size>> = (0..length)
        .map(|at| match condition.get(if condition.len() == 1 { 0 } else { at })? {
            0 => element(no, at),
            _ => element(yes, at),
        })
        .collect();
    Some(Value::list(elements?, inputs.iter().all(|input| input.rank() == Some(0))))
}

/// Integers computed from sizes, if the result is a product again.
pub(super) fn sizes_computed(proof: &mut Proof, operator: &str, inputs: &[&Value]) -> Option<Value> {
    let [left, right] = inputs else { return None };
    let (left, right, is_scalar) =
        (left.elements.as_ref()?, right.elements.as_ref()?, left.rank()? + right.rank()? == 0);
    let length = left.len().max(right.len());
    let element = |list: &[Size], at: usize| list.get(if list.len() == 1 { 0 } else { at }).cloned();
    let mut elements = Vec::new();
    for at in 0..length {
        let (left, right) = (element(left, at)?, element(right, at)?);
        let numbers = left.as_number().zip(right.as_number());
        let result = match (operator, numbers) {
            ("Mul", _) => left.times(&right),
            ("Div", None) => left.divided_by(&right),
            ("Div", Some((left, right))) => left.checked_div(right).map(Size::number),
            ("Add", Some((left, right))) => left.checked_add(right).map(Size::number),
            ("Sub", Some((left, right))) => left.checked_sub(right).map(Size::number),
            ("Equal", Some((left, right))) => Some(Size::number(i64::from(left == right))),
            ("Equal", None) if left == right => Some(Size::number(1)),
            ("Equal", None) if proof.differ_in_sign(&left, &right) => Some(Size::number(0)),
            _ => None,
        };
        let depends = left.has_rows() || right.has_rows();
        let is_arithmetic = matches!(operator, "Add" | "Sub" | "Mul" | "Div");
        elements.push(match result {
            Some(result) => result,
            None if is_arithmetic && !depends && numbers.is_none() => proof.number(),
            None => return None,
        });
    }
    Some(Value::list(elements, is_scalar))
}

pub(super) fn shape(node: &NodeProto, input: &Value) -> Value {
    let Some(sizes) = &input.sizes else { return Value::unknown("is a shape that is not known") };
    let length = sizes.len() as i64;
    let at = |bound: i64| (if bound < 0 { bound + length } else { bound }).clamp(0, length) as usize;
    let (start, end) = (at(node.int_or("start", 0)), at(node.int_or("end", length)));
    Value::list(sizes.get(start..end).unwrap_or_default().to_vec(), false)
}

pub(super) fn tile(proof: &mut Proof, input: &Value, repeats: &Value) -> Value {
    let (Some(sizes), Some(repeats)) = (&input.sizes, &repeats.elements) else {
        return free_or_unknown(&[input, repeats], "repeats rows");
    };
    if sizes.len() != repeats.len() {
        return Value::unknown("is not valid");
    }
    if let Rows::Along(axis) = input.rows
        && axis < repeats.len()
        && repeats[axis].as_number() != Some(1)
    {
        return mixed("repeats rows one after the other");
    }
    let result: Option<Vec<Size>> = sizes.iter().zip(repeats).map(|(size, times)| size.times(times)).collect();
    let Some(result) = result else { return Value::unknown("is too large") };
    proof.filled(input, result)
}
