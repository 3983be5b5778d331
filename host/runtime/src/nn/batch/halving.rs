//! Divides a batch that does not fit into the memory of the device, instead of failing it.

use std::sync::Arc;

use super::rows;
use crate::nn::cancellation::Cancellation;
use crate::nn::error::{Misfit, RunError};
use crate::nn::host_buffers::HostBuffer;
use crate::nn::memory::ArenaSizes;
use crate::nn::model::{Model, ModelProperties};
use crate::tensor::{Tensor, Tensors};

/// A model whose runs are halved if the device is out of memory, down to single rows.
pub(super) struct HalvingModel(Arc<dyn Model>);

impl HalvingModel {
    /// The rows of `model` do not depend on each other.
    pub(super) fn new(model: Arc<dyn Model>) -> Self {
        Self(model)
    }

    fn run_halved(
        &self,
        inputs: &[Tensor],
        run: &dyn Fn(&[Tensor]) -> Result<Tensors, RunError>,
    ) -> Result<Tensors, RunError> {
        let error = match run(inputs) {
            Err(RunError::OutOfMemory(error)) => error,
            result => return result,
        };
        let rows = rows::rows(inputs)?;
        if rows < 2 {
            return Err(RunError::OutOfMemory(error));
        }
        tracing::warn!("a batch of {rows} rows does not fit into the memory of the device, so it is halved: {error}");
        let half = rows / 2;
        let mut parts = Vec::with_capacity(2);
        for (from, count) in [(0, half), (half, rows - half)] {
            let part: Vec<_> = inputs.iter().map(|input| rows::slice(input, rows, from, count)).collect();
            parts.push((count, self.run_halved(&part, run)?));
        }
        rows::concatenate(parts)
    }
}

impl Model for HalvingModel {
    fn properties(&self) -> &ModelProperties {
        self.0.properties()
    }

    fn check_numbers(&self, index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        self.0.check_numbers(index, tensor)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_halved(inputs, &|inputs| self.0.run(inputs))
    }

    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        self.run_halved(inputs, &|inputs| self.0.run_unless_cancelled(inputs, cancellation))
    }

    fn arenas(&self) -> ArenaSizes {
        self.0.arenas()
    }

    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.0.warm(inputs)
    }

    fn reserve_buffers(&self, sizes: &[usize]) {
        self.0.reserve_buffers(sizes);
    }

    fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        self.0.buffer(bytes)
    }
}
