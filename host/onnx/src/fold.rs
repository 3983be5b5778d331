//! Computes small constants that follow from other constants, as exporters write them: `Sqrt(64)`, `Cast(2)`.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{Attributes, Edit};
use crate::types::Values;

/// The elements of the first output of an elementwise node whose inputs are small constants.
pub(crate) fn elements(node: &NodeProto, operator: &str, values: &Values) -> Option<Vec<f64>> {
    let constant = |index: usize| values.get(node.input(index)?)?.constant.as_deref();
    let left = constant(0)?;
    if node.input.len() == 1 {
        let to = node.int("to").unwrap_or_default();
        let function: fn(f64) -> f64 = match operator {
            "Cast" if to == i64::from(DataType::FLOAT.0) => |value| f64::from(value as f32),
            "Cast" if to == i64::from(DataType::INT64.0) || to == i64::from(DataType::INT32.0) => f64::trunc,
            "Abs" => f64::abs,
            "Exp" => |value| f64::from((value as f32).exp()),
            "Log" => |value| f64::from((value as f32).ln()),
            "Neg" => |value| -value,
            "Reciprocal" => |value| f64::from((1.0 / value) as f32),
            "Sqrt" => |value| f64::from(value.sqrt() as f32),
            _ => return None,
        };
        return Some(left.iter().map(|&value| function(value)).collect());
    }
    let right = constant(1)?;
    let is_whole = matches!(values.get(node.input(0)?)?.ty, Some(DataType::INT64 | DataType::INT32));
    let function: fn(f64, f64) -> f64 = match operator {
        "Add" => |left, right| left + right,
        "Sub" => |left, right| left - right,
        "Mul" => |left, right| left * right,
        "Div" if is_whole => |left, right| (left / right).trunc(),
        "Div" => |left, right| left / right,
        "Pow" => f64::powf,
        _ => return None,
    };
    let rounded = |value: f64| if is_whole { value } else { f64::from(value as f32) };
    let pairs = match (left, right) {
        ([one], many) => many.iter().map(|&other| function(*one, other)).collect(),
        (many, [one]) => many.iter().map(|&other| function(other, *one)).collect(),
        _ if left.len() == right.len() => left.iter().zip(right).map(|(&left, &right)| function(left, right)).collect(),
        _ => return None,
    };
    let pairs: Vec<f64> = pairs;
    Some(pairs.into_iter().map(rounded).collect())
}
