//! Loads and runs a model with rten.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use plimsoll_onnx::{GivenInput, RunSizes};
use plimsoll_sdk::{Failure, NamedTensor, Tensor};
use rten::{Model, ModelOptions, NodeId, ValueOrView};

use crate::{check, convert};

/// A model that is ready to run.
pub struct Engine {
    model: Model,
    /// The names of the outputs; rten loses those of outputs that it computes when it loads the model.
    outputs: Vec<String>,
    /// The element types of the inputs as the file declares them.
    input_types: HashMap<String, &'static str>,
    /// True if the model computes wrongly with NaN and infinities.
    needs_moderate_inputs: bool,
    /// Finds the nodes that would get values without elements.
    sizes: Option<Mutex<RunSizes>>,
}

/// Loads an ONNX model. `read` reads a file that the model stores weights in.
///
/// # Errors
/// If a file cannot be read, or rten would compute the model wrongly or not at all; the text says how to continue.
pub fn load(bytes: Vec<u8>, read: impl Fn(&str) -> Result<Vec<u8>, String>) -> Result<Engine, String> {
    let paths = plimsoll_onnx::external_files(&bytes).map_err(|error| error.to_string())?;
    let contents = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let files: Vec<_> = paths.iter().zip(&contents).map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let sizes = RunSizes::of_model(&bytes).map(Mutex::new);
    let prepared = plimsoll_onnx::prepare(bytes, &files).map_err(|error| error.to_string())?;
    let mut options = ModelOptions::with_all_ops();
    for (name, bytes) in prepared.files.into_iter().zip(contents) {
        options.external_data(&name, bytes);
    }
    // rten panics if it prepares weights without elements.
    let prepack = !prepared.has_empty_constants;
    let model = options.prepack_weights(prepack).load(prepared.bytes).map_err(|error| error.to_string())?;
    if prepared.outputs.len() != model.output_ids().len() {
        return Err(
            "rten did not return an output of the model; use `infer-native` with the backend `onnxruntime`".into()
        );
    }
    let outputs = prepared.outputs.into_iter().map(|output| output.name).collect();
    Ok(Engine {
        model,
        outputs,
        input_types: prepared.input_types,
        needs_moderate_inputs: prepared.needs_moderate_inputs,
        sizes,
    })
}

/// Runs a model.
///
/// # Errors
/// If the tensors do not fit the model, or rten cannot compute them.
pub fn infer(engine: &Engine, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, Failure> {
    let Engine { model, outputs, input_types, needs_moderate_inputs, sizes } = engine;
    let expected = check::inputs(model, input_types);
    // The tensors that a pipeline makes for a model are the deployment's fault if they do not fit. If a caller sends them,
    // the host checks them before.
    let tensors = check::match_inputs(&expected, inputs).map_err(Failure::Internal)?;
    if *needs_moderate_inputs {
        for (input, tensor) in &tensors {
            check::numbers(input, tensor).map_err(Failure::InvalidInput)?;
        }
    }
    check_elements(sizes.as_ref(), &tensors)?;
    let values: Vec<(NodeId, ValueOrView)> = tensors
        .into_iter()
        .map(|(input, tensor)| Ok((input.id, convert::to_value(input, tensor)?.into())))
        .collect::<Result<_, Failure>>()?;
    // The target has no threads, so the thread pools of rten and rayon run everything on the calling thread.
    // Whether a run fails depends on the inputs only.
    let results =
        model.run(values, model.output_ids(), None).map_err(|error| {
            let text = error.to_string();
            Failure::InvalidInput(plimsoll_onnx::refused(&text).unwrap_or_else(|| {
                format!("the model cannot compute these inputs: {text}; send other numbers or sizes")
            }))
        })?;
    let named = outputs.iter().zip(results).map(|(name, value)| Ok((name.clone(), convert::from_value(name, value)?)));
    named.collect::<Result<_, String>>().map_err(Failure::Internal)
}

/// Refuses inputs without elements with which rten would panic.
fn check_elements(sizes: Option<&Mutex<RunSizes>>, tensors: &[(&check::Input, &Tensor)]) -> Result<(), Failure> {
    let shapes: Vec<_> = tensors.iter().map(|(input, tensor)| (input.name.as_str(), tensor.dimensions())).collect();
    let Some(sizes) = sizes.filter(|_| shapes.iter().any(|(_, shape)| shape.contains(&0))) else { return Ok(()) };
    let given: Vec<_> = shapes.iter().map(|(name, shape)| GivenInput { name, shape, elements: None }).collect();
    let peaks = sizes.lock().unwrap_or_else(PoisonError::into_inner).peaks(&given);
    match peaks.map_err(|error| Failure::Internal(error.to_string()))?.empty {
        Some((node, operator)) => Err(Failure::InvalidInput(format!(
            "with inputs of these shapes, node `{node}` ({operator}) would get a value without elements, which the \
             backend cannot compute; send inputs with at least one element"
        ))),
        None => Ok(()),
    }
}
