//! The infer stage `{{name}}`: passes the tensors from preprocessing to the pipeline's model, which the host runs.
//!
//! Configuration: `model`, the name of a model in `plimsoll.toml`. The host sets it to the `model` of the pipeline.

use plimsoll_sdk::nn::errors::{Error, ErrorCode};
use plimsoll_sdk::nn::graph;
use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, config, export_infer};

struct Stage;

export_infer!(Stage);

impl Infer for Stage {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        let model = config::get("model").ok_or_else(|| {
            Failure::Internal("no model is configured; set `model` of the pipeline".into())
        })?;
        // By name, because the host has already loaded the model. It does not let a
        // stage use any other model.
        let graph = graph::load_by_name(&model).map_err(failure)?;
        let context = graph.init_execution_context().map_err(failure)?;
        // Tensors are handles: neither the inputs nor the outputs are copied into the plugin. To change tensors
        // before or after the model, read and create them here with `plimsoll_sdk::tensor`.
        context.compute(inputs).map_err(failure)
    }
}

/// Converts an error of the model to a failure, which decides the status of the reply. The text of `Internal` is only
/// logged, not sent to the caller.
fn failure(error: Error) -> Failure {
    match error.code() {
        ErrorCode::TooLarge => Failure::TooLarge(error.data()),
        code => Failure::Internal(format!("{code:?}: {}", error.data())),
    }
}
