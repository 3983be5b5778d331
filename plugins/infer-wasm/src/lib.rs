//! Infer stage without a backend of the host: the ONNX model runs inside the guest, on the CPU, on the calling thread.
//! The model is read and optimised once, at deployment; every instance starts with the model in memory.
//!
//! Configuration:
//! - `model_asset`: the asset with the ONNX model (default `model.onnx`). If the model stores weights in other files, each
//!   of them must be an asset with the name that the model contains. The host adds them for a configured model.
//! - `model`: the host sets it for every infer stage; not used here.

mod check;
mod convert;
mod engine;

use engine::Engine;
use plimsoll_sdk::{Configured, Failure, Infer, Init, NamedTensor, Request, assets, config, export_infer};

struct Wasm;

export_infer!(Wasm with init);

static MODEL: Configured<Engine> = Configured::new();

impl Init for Wasm {
    fn init() -> Result<(), String> {
        config::only(&["model_asset", "model"])?;
        let name = config::get("model_asset").unwrap_or_else(|| "model.onnx".into());
        // This costs time and memory once only: instances start from a snapshot that is taken after `init`.
        let model =
            engine::load(assets::read(&name)?, assets::read).map_err(|reason| format!("model `{name}`: {reason}"))?;
        MODEL.set(model)
    }
}

impl Infer for Wasm {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        engine::infer(MODEL.get()?, &inputs)
    }
}
