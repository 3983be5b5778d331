//! Corrects older ONNX files for rten, which reads every file as a recent operator set.
//!
//! Before operator set 13, `Softmax`, `LogSoftmax` and `Hardmax` without the attribute `axis` mean axis 1 (ONNX
//! operator changelog, Softmax-1 and -11); since then the last. With the new meaning, a classifier whose scores have the
//! shape N×C×1×1 returns 1.0 for every class. Writing the old default explicitly gives the same result for such shapes,
//! where every dimension after the axis is 1.

use rten_onnx::onnx::{AttributeProto, AttributeType, ModelProto};

/// The operator set that changed the default.
const CHANGED: i64 = 13;

/// Returns the file with the old default written explicitly where it applies, or else the bytes unchanged. Bytes that are
/// not an ONNX model are returned unchanged too; the backend rejects them.
pub fn with_explicit_axes(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut model) = ModelProto::parse_buf(&bytes) else { return bytes };
    let standard = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
    let version = model.opset_import.iter().find(|set| standard(set.domain.as_deref())).and_then(|set| set.version);
    if version.is_none_or(|version| version >= CHANGED) {
        return bytes;
    }
    let mut changed = false;
    for node in model.graph.iter_mut().flat_map(|graph| &mut graph.node) {
        let applies = standard(node.domain.as_deref())
            && matches!(node.op_type.as_deref(), Some("Softmax" | "LogSoftmax" | "Hardmax"))
            && node.attribute.iter().all(|attribute| attribute.name.as_deref() != Some("axis"));
        if applies {
            node.attribute.push(AttributeProto {
                name: Some("axis".into()),
                i: Some(1),
                r#type: Some(AttributeType::INT),
                ..AttributeProto::default()
            });
            changed = true;
        }
    }
    if !changed {
        return bytes;
    }
    model.write_buf().unwrap_or(bytes)
}
