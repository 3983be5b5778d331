//! What a node does with values that are not simply constant or separate, whatever its operator is.

use rten_onnx::onnx::NodeProto;

use super::value::{Rows, Value};
use crate::node::Attributes;

/// True if an operator uses an input as a shape, a size or a bound, and not as a number to compute with.
pub(super) fn is_shape(operator: &str, is_standard: bool, index: usize) -> bool {
    is_standard
        && matches!(
            (operator, index),
            ("Reshape" | "Expand" | "Tile" | "Pad" | "AffineGrid" | "CenterCropPad", 1)
                | ("ConstantOfShape", 0)
                | ("Slice", 1 | 2)
                | ("Resize", 3)
                | ("Range" | "Shape" | "Size", _)
        )
}

/// What all outputs of a node are because of one of its inputs; `None` if its operator decides. `captured` are the
/// values that its subgraphs use.
pub(super) fn spread(node: &NodeProto, is_standard: bool, inputs: &[&Value], captured: &[&Value]) -> Option<Rows> {
    let operator = node.op_type.as_deref().filter(|_| is_standard).unwrap_or_default();
    let is_size = matches!(operator, "Shape" | "Size");
    if is_size {
        return match &inputs.first()?.rows {
            Rows::Listed(_) => Some(Rows::Count),
            _ => None,
        };
    }
    let all = || inputs.iter().chain(captured);
    if let Some(mixed) = all().find(|value| matches!(value.rows, Rows::Mixed(_))) {
        return Some(mixed.rows.clone());
    }
    if let Some(listed) = inputs.iter().find(|value| matches!(value.rows, Rows::Listed(_))) {
        return Some(of_list(node, operator, listed, inputs));
    }
    if let Some(unknown) = all().find(|value| matches!(value.rows, Rows::Unknown(_) | Rows::Listed(_))) {
        // A product over everything is usually one of sizes.
        if reduces_all(node, operator) && operator != "ReduceProd" {
            return Some(Rows::Mixed("joins the elements of all rows".into()));
        }
        let (Rows::Unknown(why) | Rows::Listed(why)) = &unknown.rows else { return None };
        return Some(Rows::Unknown(why.clone()));
    }
    if all().any(|value| value.rows == Rows::One) {
        let is_alone = all().all(|value| matches!(value.rows, Rows::One | Rows::Free));
        return Some(if is_alone { Rows::One } else { Rows::Mixed("combines one row with all rows".into()) });
    }
    None
}

/// The result for an input with the results of all rows in one list.
fn of_list(node: &NodeProto, operator: &str, listed: &Value, inputs: &[&Value]) -> Rows {
    let Rows::Listed(why) = &listed.rows else { return listed.rows.clone() };
    match operator {
        _ if reduces_all(node, operator) => Rows::Mixed("joins what is found in all rows".into()),
        "SequenceLength" => Rows::Count,
        "SequenceAt" | "SequenceErase" if inputs.get(1).is_some_and(|index| index.is_free()) => {
            Rows::Mixed("takes a row by its index in the batch".into())
        }
        // Their results have as many elements.
        "Abs" | "Add" | "Cast" | "Clip" | "Concat" | "Div" | "Exp" | "Gather" | "GatherND" | "Identity" | "Mul"
        | "Neg" | "Relu" | "Reshape" | "Sigmoid" | "Slice" | "Squeeze" | "Sub" | "Transpose" | "Unsqueeze" => {
            Rows::Listed(why.clone())
        }
        _ => Rows::Unknown(why.clone()),
    }
}

/// True for a reduction over all axes.
fn reduces_all(node: &NodeProto, operator: &str) -> bool {
    operator.starts_with("Reduce")
        && node.ints("axes").is_none_or(<[i64]>::is_empty)
        && node.input.get(1).is_none_or(String::is_empty)
        && node.int_or("noop_with_empty_axes", 0) == 0
}
