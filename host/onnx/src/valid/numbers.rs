//! Numbers in attributes that ONNX does not allow, whatever the shapes of the values are.

use rten_onnx::onnx::NodeProto;

use crate::node::{self, Attributes};
use crate::rejected::Rejected;

/// Checks the attributes of a node.
pub(super) fn check(node: &NodeProto) -> Result<(), Rejected> {
    if !node::is_standard(node.domain.as_deref()) {
        return Ok(());
    }
    let operator = node.op_type.as_deref().unwrap_or_default();
    let least = match operator {
        // onnxruntime would end the process.
        "GatherND" => Some(("batch_dims", 0)),
        "GroupNormalization" => Some(("num_groups", 1)),
        "DepthToSpace" | "SpaceToDepth" => Some(("blocksize", 1)),
        "TopK" => Some(("k", 0)),
        _ => None,
    };
    let why = match least {
        Some((name, least)) => node
            .int(name)
            .filter(|&number| number < least)
            .map(|number| format!("`{name}` is {number}, which is less than {least}")),
        None => match (operator, node.ints("perm")) {
            ("Transpose", Some(perm)) if !is_order(perm) => Some(format!("`perm` {perm:?} is no order of dimensions")),
            _ => None,
        },
    };
    match why {
        Some(why) => {
            Err(Rejected::model(format!("node `{}` ({operator}): {why}: export the model again", node::title(node))))
        }
        None => Ok(()),
    }
}

/// True if each number from 0 on is there once.
fn is_order(perm: &[i64]) -> bool {
    (0..perm.len() as i64).all(|axis| perm.contains(&axis))
}
