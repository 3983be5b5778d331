//! `BatchNormalization`.

use rten_onnx::onnx::NodeProto;

use super::{Replaced, first_output};
use crate::node::{Attributes, Edit};
use crate::rejected::Reason;
use crate::site::Site;

/// The engine normalizes with the given mean and variance. In training mode, ONNX normalizes with those of the batch:
/// before operator set 7 unless `is_test` is set, before 14 if more than one output is declared ("Output case #1" of the
/// operator specification), whether something uses it or not, and since then if `training_mode` is set.
pub(super) fn batch_normalization(mut node: NodeProto, site: &mut Site) -> Replaced {
    let (trains, why) = match site.opset {
        ..=6 => (node.int_or("is_test", 0) == 0, "`is_test` is not set"),
        7..=13 => (node.output.len() > 1, "it has more than one output, which means that before operator set 14"),
        _ => (node.int_or("training_mode", 0) != 0, "`training_mode` is set"),
    };
    if trains {
        return Err(Reason::with_fix(
            format!("cannot train, and this node is in training mode: {why}"),
            "export the model for inference (in PyTorch, `model.eval()`)",
        ));
    }
    super::only_int(&node, "spatial", 1)?;
    // The engine does not know the attributes of the first versions.
    node.remove("is_test");
    node.remove("spatial");
    first_output(node, site)
}
