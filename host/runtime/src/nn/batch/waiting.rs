//! A run that waits for a batch.

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

impl Waiting {
    /// Returns true if two runs can share a batch: types and shapes are equal, except for the number of rows.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| a.ty == b.ty && a.dimensions[1..] == b.dimensions[1..];
        self.inputs.iter().zip(&other.inputs).all(alike)
    }
}
