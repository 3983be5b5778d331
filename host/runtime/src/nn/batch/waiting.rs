//! A run that waits for a batch, and its place in the batch.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::callers::Caller;
use crate::nn::error::RunError;
use crate::tensor::{Tensor, Tensors};

/// A waiting run.
pub(super) struct Waiting {
    pub(super) inputs: Vec<Tensor>,
    pub(super) rows: u32,
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Result<Tensors, RunError>>,
    pub(super) caller: Arc<Caller>,
}

/// A run in a batch, without its inputs.
pub(super) struct Member {
    pub(super) rows: u32,
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Result<Tensors, RunError>>,
    pub(super) caller: Arc<Caller>,
}

impl Waiting {
    /// The inputs, and the place in a batch.
    pub(super) fn into_parts(self) -> (Vec<Tensor>, Member) {
        let Self { inputs, rows, since, answer, caller } = self;
        (inputs, Member { rows, since, answer, caller })
    }
}

impl Member {
    /// Returns true if nothing waits for the answer.
    pub(super) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }
}
