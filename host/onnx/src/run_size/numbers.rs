//! Small values of numbers, as exporters use them to compute sizes.

use rten_onnx::onnx::{DataType, NodeProto};

use super::constants::of_attribute;
use super::value::{KEPT_ELEMENTS, Value};
use crate::node::Attributes;

/// More elements than are kept.
const MANY: usize = KEPT_ELEMENTS as usize + 1;

/// The value of a `Constant`.
pub(super) fn constant(node: &NodeProto) -> Value {
    let is_whole = node.attribute("value_int").is_some() || node.attribute("value_ints").is_some();
    let value = constant_elements(node);
    Value { is_whole: is_whole || value.is_whole, ..value }
}

fn constant_elements(node: &NodeProto) -> Value {
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
pub(super) fn elementwise(node: &NodeProto, inputs: &[&Value], count: u64) -> Option<Vec<f64>> {
    let operator = node.op_type.as_deref()?;
    if operator == "Where" && (inputs[0].is_most || inputs[0].elements.is_none()) {
        // One of both, so the larger numbers of both.
        return elementwise_of("Max", false, &inputs[1..], count);
    }
    let is_uncertain = inputs.iter().any(|input| input.is_most);
    if is_uncertain
        && matches!(operator, "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or")
    {
        return None;
    }
    // What is subtracted, and what divides, can be as small as possible.
    let smallest = |number: f64| {
        let elements = inputs.get(1)?.elements.as_ref()?.iter().map(|&element| element.min(number)).collect();
        Some(Value { elements: Some(elements), ..inputs[1].clone() })
    };
    let least = match operator {
        "Sub" if inputs[1].is_most => smallest(0.0),
        "Div" if inputs[1].is_most => smallest(1.0),
        _ => None,
    };
    // Divisions of integers are cut.
    let is_whole = inputs.iter().all(|input| input.is_whole);
    match &least {
        Some(least) => elementwise_of(operator, is_whole, &[inputs[0], least], count),
        None => elementwise_of(operator, is_whole, inputs, count),
    }
}

fn elementwise_of(operator: &str, is_whole: bool, inputs: &[&Value], count: u64) -> Option<Vec<f64>> {
    let lists: Vec<&[f64]> = inputs.iter().map(|input| input.elements.as_deref()).collect::<Option<_>>()?;
    let count = usize::try_from(count).ok()?;
    if lists.iter().any(|list| list.len() != 1 && list.len() != count) {
        return None;
    }
    let number = |is: bool| Some(f64::from(u8::from(is)));
    #[expect(clippy::float_cmp, reason = "the numbers are not rounded")]
    let function = |numbers: &[f64]| match operator {
        "Add" | "Sum" => Some(numbers.iter().sum()),
        "Sub" => Some(numbers[0] - numbers[1]),
        "Mul" => Some(numbers.iter().product()),
        "Div" if is_whole => Some((numbers[0] / numbers[1]).trunc()).filter(|quotient| quotient.is_finite()),
        // Other divisions compute scales, whose sizes are the same unless they are not whole.
        "Div" => Some(numbers[0] / numbers[1]).filter(|quotient| quotient.fract() == 0.0),
        "Mod" if is_whole => {
            Some(numbers[0].rem_euclid(numbers[1])).filter(|rest| numbers[1] > 0.0 && rest.is_finite())
        }
        "Pow" => Some(numbers[0].powf(numbers[1])).filter(|power| power.is_finite()),
        "Min" => numbers.iter().copied().reduce(f64::min),
        "Max" => numbers.iter().copied().reduce(f64::max),
        "Equal" => number(numbers[0] == numbers[1]),
        "Greater" => number(numbers[0] > numbers[1]),
        "GreaterOrEqual" => number(numbers[0] >= numbers[1]),
        "Less" => number(numbers[0] < numbers[1]),
        "LessOrEqual" => number(numbers[0] <= numbers[1]),
        "And" => number(numbers[0] != 0.0 && numbers[1] != 0.0),
        "Or" => number(numbers[0] != 0.0 || numbers[1] != 0.0),
        "Where" => Some(if numbers[0] == 0.0 { numbers[2] } else { numbers[1] }),
        _ => None,
    };
    let at = |list: &[f64], index: usize| list[if list.len() == 1 { 0 } else { index }];
    (0..count).map(|index| function(&lists.iter().map(|list| at(list, index)).collect::<Vec<_>>())).collect()
}

/// The elements of an operator with one input that keeps numbers, rounds them or changes their signs.
pub(super) fn of_one(node: &NodeProto, operator: &str, input: &Value) -> Option<Vec<f64>> {
    let elements = input.elements.as_ref()?;
    let is_to = |types: &[DataType]| node.int("to").is_some_and(|to| types.iter().any(|ty| i64::from(ty.0) == to));
    let function: fn(f64) -> f64 = match operator {
        "Cast" if is_to(&[DataType::INT64, DataType::INT32]) => f64::trunc,
        "Cast" if is_to(&[DataType::FLOAT, DataType::DOUBLE]) => |number| number,
        "Cast" if is_to(&[DataType::BOOL]) && !input.is_most => |number| f64::from(u8::from(number != 0.0)),
        "Identity" => |number| number,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Sqrt" => f64::sqrt,
        "Abs" => f64::abs,
        "Neg" if !input.is_most => |number| -number,
        "Not" if !input.is_most => |number| f64::from(u8::from(number == 0.0)),
        _ => return None,
    };
    Some(elements.iter().map(|&number| function(number)).collect())
}

/// The only element of a reduction of a short list.
pub(super) fn reduced(operator: &str, input: &Value) -> Option<f64> {
    let elements = input.elements.as_deref()?.iter().copied();
    match operator {
        "ReduceProd" => Some(elements.product()),
        "ReduceSum" => Some(elements.sum()),
        "ReduceMax" => elements.reduce(f64::max),
        "ReduceMin" => elements.reduce(f64::min),
        _ => None,
    }
}

/// A `Range`.
pub(super) fn range(inputs: &[&Value]) -> Option<Value> {
    let number = |index: usize| match inputs.get(index)?.elements.as_deref()? {
        &[number] => Some(number),
        _ => None,
    };
    // The length is largest for the least start.
    let start = if inputs[0].is_most { number(0)?.min(0.0) } else { number(0)? };
    let (limit, delta) = (number(1)?, number(2)?);
    let steps = ((limit - start) / delta).ceil();
    let steps = steps.is_finite().then(|| steps.clamp(0.0, 9e18) as i64)?;
    let is_short = (steps as u64) <= KEPT_ELEMENTS;
    let elements = is_short.then(|| (0..steps).map(|step| delta.mul_add(step as f64, start)).collect());
    Some(Value { elements, ..Value::of_dims(vec![steps]) })
}
