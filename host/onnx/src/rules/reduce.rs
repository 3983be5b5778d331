//! Reductions over dimensions.

use rten_onnx::onnx::NodeProto;

use super::{Replaced, keep};
use crate::node::{Attributes, Edit, new};
use crate::rejected::Reason;
use crate::site::Site;

/// With `noop_with_empty_axes` and no axes, ONNX applies only the function of the single elements, which the engine does
/// not do for all reductions.
pub(super) fn reduce(node: NodeProto, site: &mut Site) -> Replaced {
    let is_noop = node.int_or("noop_with_empty_axes", 0) != 0;
    let axes = site.info(&node, 1);
    let is_empty = match (node.ints("axes"), node.input(1)) {
        (Some(axes), _) => Some(axes.is_empty()),
        (None, None) => Some(true),
        (None, Some(_)) => axes.size(0).map(|length| length == 0),
    };
    if !is_noop || is_empty == Some(false) {
        return keep(node, site);
    }
    if is_empty.is_none() {
        return Err(Reason::with_fix(
            "does not support `noop_with_empty_axes` with computed axes",
            "use constant axes",
        ));
    }
    let (input, output) = (node.input[0].as_str(), node.output[0].as_str());
    Ok(vec![match node.op_type.as_deref().unwrap_or_default() {
        "ReduceL1" | "ReduceL2" => new("Abs", &[input], output),
        "ReduceSumSquare" => new("Mul", &[input, input], output),
        "ReduceLogSum" => new("Log", &[input], output),
        _ => new("Identity", &[input], output),
    }])
}
