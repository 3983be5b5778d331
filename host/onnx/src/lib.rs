//! Prepares ONNX models for [rten](https://docs.rs/rten), so that rten computes what ONNX defines, or the model is
//! rejected.
//!
//! rten reads every file as a recent operator set, computes 64-bit integers as 32-bit integers, and implements some
//! operators differently from the [ONNX operator specification](https://onnx.ai/onnx/operators/). This crate walks
//! through a model before rten sees it. For each node, one rule of `rules` decides: the node stays, it is replaced by
//! nodes with exactly the same meaning that rten computes correctly, or the model is rejected with the reason. Operators
//! without a rule are rejected.
//!
//! In reading order:
//! - `prepare`: the entry point. [`Rejected`]: the error.
//! - `walk`: visits the nodes of the graph and of the subgraphs in `If` and `Loop`. `site`: what a rule sees.
//! - `rules`: one function per operator or family of operators.
//! - `types`: what is known about a value: element type, rank, sizes, constant, and how large its integers can be.
//!   `infer`: what follows from a node about its outputs.
//! - `node`: reads attributes and creates nodes. `tensor`: reads and creates constants.
//! - `onnxruntime`: nodes that the other backend computes differently.
//! - `external`: tensors that are stored in files next to the model.
//!
//! The host and the guest `infer-wasm` use the same crate, so both give the same answers.

mod external;
mod infer;
mod node;
mod onnxruntime;
mod rejected;
mod rules;
mod site;
mod tensor;
mod types;
mod walk;

use rten_onnx::onnx::{ModelProto, ValueInfoProto};

pub use external::{ExternalError, external_files};
pub use onnxruntime::check_onnxruntime;
pub use rejected::Rejected;

/// The engine, as messages name it.
const ENGINE: &str = "rten";
/// The newest operator set that the rules were checked for (ONNX 1.22).
const NEWEST_OPSET: i64 = 27;

/// A model that the engine computes correctly.
pub struct Prepared {
    /// The ONNX file for the engine.
    pub bytes: Vec<u8>,
    /// The names of the outputs, in order. The engine loses the names of outputs that it computes when it loads the model.
    pub outputs: Vec<String>,
}

/// Converts an ONNX file to one that rten computes correctly.
///
/// Bytes that are not an ONNX model are returned unchanged; the engine rejects them.
///
/// # Errors
/// If rten would compute a node wrongly or cannot run it. The error names the node and how to continue.
pub fn prepare(bytes: Vec<u8>) -> Result<Prepared, Rejected> {
    let Ok(mut model) = ModelProto::parse_buf(&bytes) else { return Ok(Prepared { bytes, outputs: Vec::new() }) };
    let Some(graph) = &model.graph else { return Ok(Prepared { bytes, outputs: Vec::new() }) };
    let outputs = graph.output.iter().map(|output| output.name.clone().unwrap_or_default()).collect();
    let opset = opset(&model)?;
    walk::model(&mut model, opset)?;
    let bytes = model
        .write_buf()
        .map_err(|error| Rejected::model(format!("the corrected model cannot be written: {error}")))?;
    Ok(Prepared { bytes, outputs })
}

/// The inputs and outputs of a model for which the file declares no shape, not even a number of dimensions.
pub fn values_without_shape(bytes: &[u8]) -> Vec<String> {
    let graph = ModelProto::parse_buf(bytes).ok().and_then(|model| model.graph).unwrap_or_default();
    let has_shape = |value: &ValueInfoProto| {
        value.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()).is_some_and(|tensor| tensor.shape.is_some())
    };
    graph
        .input
        .iter()
        .chain(&graph.output)
        .filter(|value| !has_shape(value))
        .filter_map(|value| value.name.clone())
        .collect()
}

/// The version of the standard operator set.
fn opset(model: &ModelProto) -> Result<i64, Rejected> {
    let import = model.opset_import.iter().find(|set| node::is_standard(set.domain.as_deref()));
    let Some(version) = import.and_then(|set| set.version) else {
        return Err(Rejected::model("the file does not state a version of the standard operator set".into()));
    };
    if version > NEWEST_OPSET {
        return Err(Rejected::model(format!(
            "it uses operator set {version}; {ENGINE} is checked up to {NEWEST_OPSET}: export the model with an older \
             operator set, or use the backend `onnxruntime`"
        )));
    }
    Ok(version)
}
