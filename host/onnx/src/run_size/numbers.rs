//! Small values of numbers, as exporters use them to compute sizes.

use rten_onnx::onnx::{DataType, NodeProto};

use super::of_attribute;
use super::value::{KEPT_ELEMENTS, Value};
use crate::node::Attributes;

/// More elements than are kept.
const MANY: usize = KEPT_ELEMENTS as usize + 1;

/// The value of a `Constant`.
pub(super) fn constant(node: &NodeProto) -> Value {
    if let Some(value) = node.attribute("value") {
        return of_attribute(value).unwrap_or_default();
    }
    #[expect(clippy::cast_precision_loss, reason = "larger numbers than 2^53 are no sizes")]
    let whole = |numbers: &[i64]| Value::list(numbers.iter().take(MANY).map(|&number| number as f64).collect());
    if let Some(number) = node.int("value_int") {
        return Value { dims: Some(Vec::new()), ..whole(&[number]) };
    }
    if let Some(number) = node.float("value_float") {
        return Value::scalar(number.into());
    }
    if let Some(numbers) = node.ints("value_ints") {
        return Value { dims: Some(vec![numbers.len() as i64]), ..whole(numbers) };
    }
    match node.attribute("value_floats") {
        Some(numbers) => Value {
            dims: Some(vec![numbers.floats.len() as i64]),
            ..Value::list(numbers.floats.iter().take(MANY).copied().map(f64::from).collect())
        },
        None => Value::default(),
    }
}

/// The elements of an elementwise operator with two or three inputs.
pub(super) fn elementwise(operator: &str, inputs: &[&Value], count: u64) -> Option<Vec<f64>> {
    let lists: Vec<&[f64]> = inputs.iter().map(|input| input.elements.as_deref()).collect::<Option<_>>()?;
    let count = usize::try_from(count).ok()?;
    if lists.iter().any(|list| list.len() != 1 && list.len() != count) {
        return None;
    }
    // A division of integers is cut; other divisions compute scales, whose sizes are the same unless they are not whole.
    #[expect(clippy::float_cmp, reason = "the numbers are not rounded")]
    let function: fn(&[f64]) -> Option<f64> = match operator {
        "Add" | "Sum" => |numbers| Some(numbers.iter().sum()),
        "Sub" => |numbers| Some(numbers[0] - numbers[1]),
        "Mul" => |numbers| Some(numbers.iter().product()),
        "Div" => |numbers| {
            let exact = numbers[0] / numbers[1];
            (exact.fract() == 0.0).then_some(exact)
        },
        "Min" => |numbers| numbers.iter().copied().reduce(f64::min),
        "Max" => |numbers| numbers.iter().copied().reduce(f64::max),
        "Equal" => |numbers| Some(f64::from(u8::from(numbers[0] == numbers[1]))),
        "Where" => |numbers| Some(if numbers[0] == 0.0 { numbers[2] } else { numbers[1] }),
        _ => return None,
    };
    let at = |list: &[f64], index: usize| list[if list.len() == 1 { 0 } else { index }];
    (0..count).map(|index| function(&lists.iter().map(|list| at(list, index)).collect::<Vec<_>>())).collect()
}

/// The elements of an operator with one input that keeps numbers, or rounds them.
pub(super) fn rounded(node: &NodeProto, operator: &str, elements: &[f64]) -> Option<Vec<f64>> {
    let to_whole =
        node.int("to").is_some_and(|to| [DataType::INT64, DataType::INT32].into_iter().any(|ty| i64::from(ty.0) == to));
    let function: fn(f64) -> f64 = match operator {
        "Cast" if to_whole => f64::trunc,
        "Identity" => |number| number,
        "Cast" if node.int("to") == Some(i64::from(DataType::FLOAT.0)) => |number| number,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        _ => return None,
    };
    Some(elements.iter().map(|&number| function(number)).collect())
}

/// The number of elements of a `Range`.
pub(super) fn range(inputs: &[&Value]) -> Option<i64> {
    let number = |index: usize| match inputs.get(index)?.elements.as_deref()? {
        &[number] => Some(number),
        _ => None,
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let steps = ((limit - start) / delta).ceil();
    steps.is_finite().then(|| steps.clamp(0.0, 9e18) as i64)
}
