//! The infer stage `{{name}}`: hands the tensors of preprocessing to the pipeline's model, which the host runs.
//!
//! Configuration: `model`, the name of a model in `plimsoll.toml`; the host sets it from the pipeline's `model`.

use plimsoll_sdk::nn::errors::{Error, ErrorCode};
use plimsoll_sdk::nn::graph;
use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, config, export_infer};

struct Stage;

export_infer!(Stage);

impl Infer for Stage {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        let model = config::get("model").ok_or_else(|| {
            Failure::Internal("no model is configured: set the pipeline's `model`".into())
        })?;
        // By name, since the host has loaded the model already and lets a stage use no other.
        let graph = graph::load_by_name(&model).map_err(failure)?;
        let context = graph.init_execution_context().map_err(failure)?;
        // Tensors are handles: neither these nor the model's outputs have been copied into the plugin.
        // `plimsoll_sdk::tensor` reads and makes them where a stage changes them before or after the model.
        context.compute(inputs).map_err(failure)
    }
}

/// The status of the reply when the model cannot answer. The text of `Internal` goes to the log only.
fn failure(error: Error) -> Failure {
    match error.code() {
        ErrorCode::TooLarge => Failure::TooLarge(error.data()),
        code => Failure::Internal(format!("{code:?}: {}", error.data())),
    }
}
