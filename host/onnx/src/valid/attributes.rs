//! Attributes of nodes: each is there once.

use rten_onnx::onnx::NodeProto;

use crate::node;
use crate::rejected::Rejected;

/// Readers take different ones of two attributes of a name; onnxruntime rejects them.
pub(super) fn check(node: &NodeProto) -> Result<(), Rejected> {
    let name = |index: usize| node.attribute[index].name.as_deref().unwrap_or_default();
    // A node has few attributes.
    let twice = (1..node.attribute.len()).find(|&index| (0..index).any(|other| name(other) == name(index)));
    match twice {
        Some(index) => {
            let (title, operator) = (node::title(node), node.op_type.as_deref().unwrap_or_default());
            Err(Rejected::model(format!(
                "node `{title}` ({operator}) has the attribute `{}` twice, so it is not known which is meant: export the \
                 model again",
                name(index)
            )))
        }
        None => Ok(()),
    }
}
