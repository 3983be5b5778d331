//! The stage of a pipeline that failed.

use std::sync::Arc;

use crate::stage::{StageCore, StageError};

/// The stage that failed, and how.
#[derive(Debug)]
pub struct PipelineError {
    /// The stage.
    pub stage: Arc<StageCore>,
    /// The item for which it failed, from 0, if the stage ran for one of several items.
    pub item: Option<usize>,
    /// How it ended.
    pub error: StageError,
}

/// Makes the error of a stage.
pub(super) fn failed(stage: &Arc<StageCore>) -> impl FnOnce(StageError) -> PipelineError {
    |error| PipelineError { stage: Arc::clone(stage), item: None, error }
}
