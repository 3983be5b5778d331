//! The infer stage that needs no backend of the host: the ONNX model runs inside the guest, on the CPU, on the
//! calling thread. The model is read and optimised once at deployment, and every instance starts with it.
//!
//! Configuration:
//! - `model_asset`: the asset with the ONNX model (default `model.onnx`).
//! - `model`: set by the host for every infer stage, and not used here.

mod check;
mod convert;
// The host runs models with rten too and needs the same correction; the file stands with the host.
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
        // Time and memory spent here are spent once, since instances start from what this leaves.
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load(bytes)
            .map_err(|error| format!("model `{name}`: {error}"))?;
        MODEL.set(model).map_err(|_| "the plugin is initialised already".into())
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
    let values: Vec<(NodeId, ValueOrView)> = check::pair(&expected, inputs)?
        .into_iter()
        .map(|(input, tensor)| Ok((input.id, convert::to_value(input, tensor)?.into())))
        .collect::<Result<_, String>>()?;
    // Without threads in the target, the pool of rten and the one of rayon below it run on the caller's thread.
    let outputs =
        model.run(values, model.output_ids(), None).map_err(|error| format!("the model does not run: {error}"))?;
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
