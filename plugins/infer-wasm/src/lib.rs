//! Infer stage without a backend of the host: the ONNX model runs inside the guest, on the CPU, on the calling thread.
//! The model is read and optimised once, at deployment; every instance starts with the model in memory.
//!
//! Configuration:
//! - `model_asset`: the asset with the ONNX model (default `model.onnx`).
//! - `model`: the host sets it for every infer stage; not used here.

mod check;
mod convert;
// Shared with the host, which also runs models with rten and needs the same correction of the model.
#[path = "../../../host/runtime/src/nn/onnx_rewrite.rs"]
mod onnx;

use std::sync::OnceLock;

use plimsoll_sdk::{Failure, Infer, Init, NamedTensor, Request, assets, config, export_infer};
use rten::{Model, ModelOptions, NodeId, ValueOrView};

struct Wasm;

export_infer!(Wasm with init);

static MODEL: OnceLock<Model> = OnceLock::new();

impl Init for Wasm {
    fn init() -> Result<(), String> {
        config::only(&["model_asset", "model"])?;
        let name = config::get("model_asset").unwrap_or_else(|| "model.onnx".into());
        let bytes = onnx::with_explicit_axes(assets::read(&name)?);
        // This costs time and memory once only: instances start from a snapshot that is taken after `init`.
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load(bytes)
            .map_err(|error| format!("model `{name}`: {error}"))?;
        MODEL.set(model).map_err(|_| "the plugin is already initialised".into())
    }
}

impl Infer for Wasm {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        let model = MODEL.get().ok_or_else(|| Failure::Internal("`init` was not called".into()))?;
        infer(model, &inputs).map_err(Failure::Internal)
    }
}

fn infer(model: &Model, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, String> {
    let expected = check::inputs(model);
    let values: Vec<(NodeId, ValueOrView)> = check::match_inputs(&expected, inputs)?
        .into_iter()
        .map(|(input, tensor)| Ok((input.id, convert::to_value(input, tensor)?.into())))
        .collect::<Result<_, String>>()?;
    // The target has no threads, so the thread pools of rten and rayon run everything on the calling thread.
    let outputs =
        model.run(values, model.output_ids(), None).map_err(|error| format!("running the model failed: {error}"))?;
    model
        .output_ids()
        .iter()
        .zip(outputs)
        .map(|(&id, value)| {
            let name = model.node_info(id).and_then(|node| node.name()).unwrap_or_default();
            Ok((name.to_owned(), convert::from_value(name, value)?))
        })
        .collect()
}
