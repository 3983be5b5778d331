//! The stages of a pipeline that is built.

use plimsoll_runtime::pipeline::Middle;
use plimsoll_runtime::stage::{PostprocessStage, PreprocessStage};

use super::build_error::BuildError;

/// The stages of a pipeline.
pub(super) struct Stages {
    pub(super) preprocess: PreprocessStage,
    pub(super) middle: Middle,
    pub(super) postprocess: PostprocessStage,
}

/// The error for a plugin whose export has another type.
pub(super) fn misfit(key: &str) -> impl FnOnce(wasmtime::Error) -> BuildError {
    let key = format!("{key}.plugin");
    |error| BuildError::new(key, format!("{error:#}"))
}
