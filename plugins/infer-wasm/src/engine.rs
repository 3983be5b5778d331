//! Loads and runs a model with rten.

use plimsoll_sdk::NamedTensor;
use rten::{Model, ModelOptions, NodeId, ValueOrView};

use crate::{check, convert};

/// A model that is ready to run.
pub struct Engine {
    model: Model,
    /// The names of the outputs; rten loses those of outputs that it computes when it loads the model.
    outputs: Vec<String>,
}

/// Loads an ONNX model. `read` reads a file that the model stores weights in.
///
/// # Errors
/// If a file cannot be read, or rten would compute the model wrongly or not at all; the text says how to continue.
pub fn load(bytes: Vec<u8>, read: impl Fn(&str) -> Result<Vec<u8>, String>) -> Result<Engine, String> {
    let mut options = ModelOptions::with_all_ops();
    for file in plimsoll_onnx::external_files(&bytes).map_err(|error| error.to_string())? {
        options.external_data(&file, read(&file)?);
    }
    let prepared = plimsoll_onnx::prepare(bytes).map_err(|error| error.to_string())?;
    let model = options.prepack_weights(true).load(prepared.bytes).map_err(|error| error.to_string())?;
    if prepared.outputs.len() != model.output_ids().len() {
        return Err("rten lost an output of the model; use `infer-native` with the backend `onnxruntime`".into());
    }
    Ok(Engine { model, outputs: prepared.outputs })
}

/// Runs a model.
///
/// # Errors
/// If the tensors do not fit the model, or rten fails.
pub fn infer(Engine { model, outputs }: &Engine, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, String> {
    let expected = check::inputs(model);
    let values: Vec<(NodeId, ValueOrView)> = check::match_inputs(&expected, inputs)?
        .into_iter()
        .map(|(input, tensor)| Ok((input.id, convert::to_value(input, tensor)?.into())))
        .collect::<Result<_, String>>()?;
    // The target has no threads, so the thread pools of rten and rayon run everything on the calling thread.
    let results =
        model.run(values, model.output_ids(), None).map_err(|error| format!("running the model failed: {error}"))?;
    outputs.iter().zip(results).map(|(name, value)| Ok((name.clone(), convert::from_value(name, value)?))).collect()
}
