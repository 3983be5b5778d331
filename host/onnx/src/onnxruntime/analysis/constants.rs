//! What is known about constants.

use rten_onnx::onnx::{DataType, NodeProto, TensorProto};

use crate::node::{self, Attributes};
use crate::types::Info;

/// What is known about a constant. The elements matter for integers only.
pub(super) fn info(tensor: &TensorProto) -> Info {
    let is_filled = !tensor.dims.contains(&0);
    match tensor.data_type {
        Some(DataType::INT32 | DataType::INT64) => Info { is_filled, ..Info::constant(tensor) },
        ty => {
            let sizes = Some(tensor.dims.iter().map(|&size| Some(size)).collect());
            Info { is_filled, is_constant: true, sizes, ..Info::of_type(ty, Some(tensor.dims.len())) }
        }
    }
}

/// The output of a `Constant`.
pub(super) fn of_node(node: &NodeProto) -> Info {
    let ints = |values: &[i64]| Info {
        constant: Some(values.iter().map(|&value| value as f64).collect()),
        ..Info::of_type(Some(DataType::INT64), None)
    };
    if let Some(tensor) = node.attribute("value").and_then(|value| value.t.as_ref()) {
        return info(tensor);
    }
    if let Some(value) = node.int("value_int") {
        return ints(&[value]);
    }
    if let Some(values) = node.ints("value_ints") {
        return ints(values);
    }
    let rank = match (node.attribute("value_float"), node.attribute("value_floats")) {
        (Some(_), _) => 0,
        (_, Some(_)) => 1,
        _ => return Info::of_type(None, None),
    };
    Info { is_constant: true, ..Info::of_type(Some(DataType::FLOAT), Some(rank)) }
}

/// True for operators whose outputs have elements if all inputs have some.
pub(super) fn keeps_elements(node: &NodeProto) -> bool {
    const KEEPING: [&str; 14] = [
        "Add",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Div",
        "Identity",
        "Mul",
        "QuantizeLinear",
        "Reshape",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ];
    let is_known = node::is_standard(node.domain.as_deref()) || node.domain.as_deref() == Some("com.microsoft");
    is_known && node.op_type.as_deref().is_some_and(|operator| KEEPING.contains(&operator))
}
