//! `Softmax` and `LogSoftmax`.

use rten_onnx::onnx::NodeProto;

use super::{Replaced, keep};
use crate::node::{Attributes, Edit, new};
use crate::site::Site;

/// The operator set that changed the meaning of `axis`.
const CHANGED: i64 = 13;

/// Before operator set 13, these operators run over all dimensions from `axis` on, and `axis` is 1 by default (ONNX
/// operator changelog, Softmax-1 and -11). Since then they run over the dimension `axis`, by default the last. The engine
/// always does the latter, so older ones become `Reshape(Softmax(Flatten(x, axis), 1), Shape(x))`.
pub(super) fn softmax(mut node: NodeProto, site: &mut Site) -> Replaced {
    if site.opset >= CHANGED {
        return keep(node, site);
    }
    let axis = node.int_or("axis", 1);
    if site.info(&node, 0).rank == Some(2) && matches!(axis, 1 | -1) {
        node.set_int("axis", 1);
        return keep(node, site);
    }
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let (shape, matrix, result) = (site.name("shape"), site.name("matrix"), site.name("softmax"));
    node.input[0].clone_from(&matrix);
    node.output[0].clone_from(&result);
    node.set_int("axis", 1);
    Ok(vec![
        new("Shape", &[&input], &shape),
        new("Flatten", &[&input], &matrix).with_int("axis", axis),
        node,
        new("Reshape", &[&result, &shape], &output),
    ])
}
