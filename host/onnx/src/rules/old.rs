//! Operators of operator sets before 7, which the engine reads as newer ones: they broadcast by attributes, or differ in
//! what they compute.

use rten_onnx::onnx::NodeProto;

use super::arithmetic::rank_needed;
use crate::node::{Attributes, Edit, new};
use crate::rejected::Reason;
use crate::site::Site;

/// The operator set from which on operators of two values broadcast by themselves.
const BROADCASTS: i64 = 7;

const FIX: &str = "convert the model to operator set 7 or newer (`onnx.version_converter.convert_version`)";

/// Gives a node of an old operator set the meaning that it has in newer ones. Returns the nodes before it.
pub(super) fn renew(node: &mut NodeProto, site: &mut Site) -> Result<Vec<NodeProto>, Reason> {
    if site.opset >= BROADCASTS {
        return Ok(Vec::new());
    }
    // A hint of the first operator sets, which has no meaning.
    node.remove("consumed_inputs");
    match node.op_type.as_deref().unwrap_or_default() {
        "Add" | "And" | "Div" | "Equal" | "Greater" | "Less" | "Mul" | "Or" | "Pow" | "Sub" | "Xor" => {
            let broadcasts = node.int_or("broadcast", 0) != 0;
            let axis = node.int("axis").filter(|_| broadcasts);
            node.remove("broadcast");
            node.remove("axis");
            axis.map_or(Ok(Vec::new()), |axis| aligned(node, axis, site))
        }
        "Gemm" => {
            node.remove("broadcast");
            Ok(Vec::new())
        }
        // A slope for each channel, also if the last dimension has as many elements.
        "PRelu" if site.info(node, 1).rank != Some(0) && !has_one_element(node, site) => {
            if site.info(node, 1).rank == Some(1) { aligned(node, 1, site) } else { Err(rank_needed()) }
        }
        "AveragePool" if pads(node) => Err(Reason::with_fix(
            format!("does not support padding of `AveragePool` of operator set {}", site.opset),
            FIX,
        )),
        "Dropout" if node.int_or("is_test", 0) == 0 => Err(Reason::with_fix(
            "cannot train, and this node is in training mode: `is_test` is not set",
            "export the model for inference (in PyTorch, `model.eval()`)",
        )),
        "Dropout" => {
            node.remove("is_test");
            Ok(Vec::new())
        }
        operator @ ("Upsample" | "Pad" | "Cast" | "Tile") if is_other(node, operator, site.opset) => {
            Err(Reason::with_fix(format!("does not support `{operator}` of operator set {}", site.opset), FIX))
        }
        _ => Ok(Vec::new()),
    }
}

/// True for operators whose first versions have other inputs and attributes.
fn is_other(node: &NodeProto, operator: &str, opset: i64) -> bool {
    match operator {
        "Pad" => node.attribute("paddings").is_some(),
        "Cast" | "Tile" => opset < 6,
        _ => true,
    }
}

/// The second value with its first dimension at an axis of the first: dimensions of size 1 follow.
fn aligned(node: &mut NodeProto, axis: i64, site: &mut Site) -> Result<Vec<NodeProto>, Reason> {
    let (Some(left), Some(right)) = (site.info(node, 0).rank, site.info(node, 1).rank) else {
        return Err(rank_needed());
    };
    let (left, right) = (left as i64, right as i64);
    let axis = if axis < 0 { axis.saturating_add(left) } else { axis };
    let following =
        left.checked_sub(axis).and_then(|rest| rest.checked_sub(right)).filter(|&rest| rest >= 0 && axis >= 0);
    let Some(following) = following else {
        return Err(Reason::with_fix(
            format!("cannot broadcast {right} dimensions from axis {axis} of {left} on"),
            "export the model again",
        ));
    };
    if following == 0 {
        return Ok(Vec::new());
    }
    let (axes, aligned) = (site.ints(&(right..right + following).collect::<Vec<_>>()), site.name("aligned"));
    let unsqueeze = new("Unsqueeze", &[&node.input[1], &axes], &aligned);
    node.input[1] = aligned;
    Ok(vec![unsqueeze])
}

fn has_one_element(node: &NodeProto, site: &Site) -> bool {
    site.info(node, 1).sizes.is_some_and(|sizes| sizes.iter().all(|&size| size == Some(1)))
}

fn pads(node: &NodeProto) -> bool {
    node.ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0))
        || node.text_or("auto_pad", "NOTSET").starts_with("SAME")
}
