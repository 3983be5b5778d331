//! Infer stage for native chips: passes the tensors to the model through `wasi:nn`. It never reads the contents of a
//! tensor, so no bytes are copied.
//!
//! Configuration: `model`, the name of a model in `plimsoll.toml`. The host sets it to the `model` of the pipeline.

use plimsoll_sdk::nn::errors::{Error, ErrorCode};
use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, config, export_infer, nn::graph};

struct Native;

export_infer!(Native);

impl Infer for Native {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        let model = config::get("model")
            .ok_or_else(|| Failure::Internal("no model is configured; set `model` of the pipeline".into()))?;
        let context = graph::load_by_name(&model).and_then(|graph| graph.init_execution_context()).map_err(failure)?;
        context.compute(inputs).map_err(failure)
    }
}

/// Converts an error of `wasi:nn`. The text of `Failure::Internal` is only logged, not sent to the caller.
fn failure(error: Error) -> Failure {
    match error.code() {
        ErrorCode::TooLarge => Failure::TooLarge(error.data()),
        code => Failure::Internal(format!("{code:?}: {}", error.data())),
    }
}
