//! FLOAT16, which the engine computes as FLOAT: operators whose result a rounding to FLOAT16 decides.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::Attributes;
use crate::rejected::Reason;
use crate::site::Site;

/// Checks that a node does not round, compare or order numbers that the model rounds to FLOAT16 and the engine does not:
/// 2049 is 2048 in FLOAT16, so another integer, and equal to 2048.
pub(super) fn check(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    let is_fraction = |ty: DataType| matches!(ty, DataType::FLOAT | DataType::FLOAT16 | DataType::DOUBLE);
    let decides = match node.op_type.as_deref().unwrap_or_default() {
        "Cast" => !node.int("to").and_then(|to| i32::try_from(to).ok()).map(DataType).is_some_and(is_fraction),
        "CastLike" => !site.info(node, 1).ty.is_some_and(is_fraction),
        "ArgMax" | "ArgMin" | "Ceil" | "Equal" | "Floor" | "Greater" | "GreaterOrEqual" | "IsInf" | "Less"
        | "LessOrEqual" | "Mod" | "NonZero" | "OneHot" | "QuantizeLinear" | "Range" | "Round" | "Sign" | "TopK" => true,
        _ => false,
    };
    if decides && (0..node.input.len()).any(|index| site.info(node, index).is_inexact_half) {
        return Err(Reason::with_fix(
            "computes FLOAT16 as FLOAT, and the rounding to FLOAT16 can decide the result of this operator",
            "export the model in FLOAT",
        ));
    }
    Ok(())
}
