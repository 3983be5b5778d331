//! Sizes that a request states as numbers.

use rten_onnx::onnx::NodeProto;

use crate::node::Edit;
use crate::types::Values;

/// True if a request states a size of the result, also by numbers that the model computes with. Sizes that follow from sizes
/// of inputs are limited by the inputs.
pub(crate) fn states_sizes(node: &NodeProto, values: &Values) -> bool {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let is_stated = |index: usize| {
        node.input(index)
            .is_some_and(|name| values.get(name).is_none_or(|info| info.is_data || !info.bound.is_finite()))
    };
    match operator {
        "Range" => (0..3).any(is_stated),
        _ => sizes(node, operator).is_some_and(is_stated),
    }
}

/// The input with the sizes.
pub(crate) fn sizes(node: &NodeProto, operator: &str) -> Option<usize> {
    let index = match operator {
        "ConstantOfShape" | "Loop" => 0,
        "Expand" | "OneHot" | "Pad" | "Range" | "Tile" | "Upsample" => 1,
        "Resize" if node.input(3).is_some() => 3,
        "Resize" => 2,
        _ => return None,
    };
    node.input(index).map(|_| index)
}
