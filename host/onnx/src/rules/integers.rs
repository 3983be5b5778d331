//! 64-bit integers, which the engine computes as 32-bit integers: a node is rejected if its result can exceed them.

use rten_onnx::onnx::{DataType, NodeProto};

use super::kinds::{FLOATS, kind};
use crate::infer;
use crate::node::Attributes;
use crate::rejected::Reason;
use crate::site::Site;

/// The largest absolute value that the engine represents.
const LARGEST: f64 = i32::MAX as f64;

/// Operators whose results can be larger than their inputs.
fn grows(operator: &str) -> bool {
    matches!(
        operator,
        "Abs"
            | "Add"
            | "CumSum"
            | "Mul"
            | "Neg"
            | "Pow"
            | "ReduceL1"
            | "ReduceProd"
            | "ReduceSum"
            | "ReduceSumSquare"
            | "Sub"
            | "Sum"
    )
}

/// Checks a node that computes 64-bit integers.
pub(super) fn check(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    for index in 0..node.input.len() {
        if site.info(node, index).exceeds_32_bits && !may_exceed(operator, index, node) {
            return Err(Reason::with_fix(
                "computes 64-bit integers as 32-bit integers, and a constant exceeds them",
                "use a smaller constant",
            ));
        }
    }
    let input = site.info(node, 0);
    // The least and the largest of no elements are the limits of the type.
    if matches!(operator, "ReduceMax" | "ReduceMin") && input.ty == Some(DataType::INT64) {
        let never_empty =
            input.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|size| size.is_some_and(|size| size > 0)));
        if !never_empty && input.bound > LARGEST {
            return Err(Reason::with_fix(
                "computes 64-bit integers as 32-bit integers, and the result for no elements exceeds them",
                "use fixed sizes, FLOAT or INT32",
            ));
        }
    }
    let Some(ty) = input.ty else { return Ok(()) };
    let to_whole = operator == "Cast" && node.int("to") == Some(DataType::INT64.0.into()) && kind(ty) == FLOATS;
    let is_whole = ty == DataType::INT64 && grows(operator);
    if !to_whole && !is_whole {
        return Ok(());
    }
    let largest = if to_whole {
        input.bound
    } else {
        infer::outputs(node, site.opset, site.values).first().map_or(f64::INFINITY, |output| output.bound)
    };
    if largest <= LARGEST {
        return Ok(());
    }
    Err(Reason::with_fix(
        "computes 64-bit integers as 32-bit integers, and the result depends on the input and can exceed them",
        "compute in FLOAT or INT32",
    ))
}

/// True if the engine treats a saturated constant like the constant: the end of a slice, or a value that a later node
/// uses.
fn may_exceed(operator: &str, index: usize, node: &NodeProto) -> bool {
    match operator {
        "Slice" => index == 1 || index == 2,
        "Identity" | "Unsqueeze" | "Squeeze" | "Reshape" => index == 0,
        "Cast" => node.int("to") == Some(DataType::INT64.0.into()),
        _ => false,
    }
}
