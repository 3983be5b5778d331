//! The few nodes that onnxruntime 1.32 computes differently from ONNX's node tests.

use rten_onnx::onnx::{GraphProto, ModelProto, NodeProto};

use crate::node::{Attributes, Edit};
use crate::rejected::Rejected;
use crate::tensor;

/// Checks a model before onnxruntime loads it.
///
/// # Errors
/// If onnxruntime would compute a node differently from ONNX. The error names the node and how to continue.
pub fn check_onnxruntime(bytes: &[u8]) -> Result<(), Rejected> {
    let Ok(model) = ModelProto::parse_buf(bytes) else { return Ok(()) };
    model.graph.as_ref().map_or(Ok(()), check)
}

fn check(graph: &GraphProto) -> Result<(), Rejected> {
    for node in &graph.node {
        let reason = match node.op_type.as_deref() {
            Some("MaxUnpool") if node.input(2).is_some() => Some("places values differently with `output_shape`"),
            Some("Resize") if rounds_sizes(node, graph) => Some(
                "computes `align_corners` differently for a scale that gives no whole size: give `sizes` instead of `scales`",
            ),
            Some("ConvInteger") if node.input(3).is_some() => Some("supports no zero point per channel of the weights"),
            Some("Attention") if node.input(6).is_some() => Some("does not support `nonpad_kv_seqlen` with a mask"),
            _ => None,
        };
        if let Some(reason) = reason {
            let name = node.name.as_deref().filter(|name| !name.is_empty()).or(node.output(0)).unwrap_or_default();
            let operator = node.op_type.as_deref().unwrap_or_default();
            return Err(Rejected::model(format!("node `{name}` ({operator}): onnxruntime {reason}")));
        }
        for attribute in &node.attribute {
            attribute.g.as_ref().map_or(Ok(()), check)?;
        }
    }
    Ok(())
}

/// True if a `Resize` aligns corners and its scales are not whole numbers, or not constant.
fn rounds_sizes(node: &NodeProto, graph: &GraphProto) -> bool {
    if node.text_or("coordinate_transformation_mode", "half_pixel") != "align_corners" || node.input(3).is_some() {
        return false;
    }
    let Some(name) = node.input(2) else { return false };
    let constant = graph.initializer.iter().find(|constant| constant.name.as_deref() == Some(name));
    let inner = || graph.node.iter().find(|node| node.output(0) == Some(name))?.attribute("value")?.t.as_ref();
    let scales = constant.or_else(inner).and_then(tensor::floats);
    scales.is_none_or(|scales| scales.iter().any(|scale| scale.fract() != 0.0))
}
