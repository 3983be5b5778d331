//! Runs a model with prepared numbers of rows only: rows are added to reach the next size, and their outputs are
//! removed.
//!
//! The added rows repeat the last row. A row of zeros could be invalid for the model (an index, a length, a divisor),
//! or slow (NaN and denormals), and would then change whether the run succeeds. A repeated row behaves like the
//! original row.

use std::sync::Arc;

use super::observer::BatchObserver;
use super::rows;
use super::sizes::{BatchSizes, Part};
use crate::nn::cancellation::Cancellation;
use crate::nn::error::{Misfit, RunError};
use crate::nn::host_buffers::HostBuffer;
use crate::nn::memory::ArenaSizes;
use crate::nn::model::{Model, ModelProperties};
use crate::tensor::{Tensor, Tensors};

/// A model that is run with prepared numbers of rows only. A run with more rows than the largest size is divided.
pub(in crate::nn) struct PaddedModel {
    model: Arc<dyn Model>,
    sizes: BatchSizes,
    observer: Arc<dyn BatchObserver>,
}

impl PaddedModel {
    /// `model` was checked and run with each of the sizes.
    pub(in crate::nn) fn new(model: Arc<dyn Model>, sizes: BatchSizes, observer: Arc<dyn BatchObserver>) -> Self {
        Self { model, sizes, observer }
    }

    /// Makes a run in parts of prepared sizes.
    fn run_parts(
        &self,
        inputs: &[Tensor],
        run: impl Fn(&[Tensor]) -> Result<Tensors, RunError>,
    ) -> Result<Tensors, RunError> {
        let rows = rows::rows(inputs)?;
        if self.sizes.contains(rows) {
            return run(inputs);
        }
        let mut from = 0;
        let mut parts: Vec<(u32, Tensors)> = Vec::new();
        for part in self.sizes.parts(rows) {
            let padded: Vec<_> = inputs.iter().map(|input| take_rows(input, rows, from, part)).collect();
            if part.size > part.rows {
                self.observer.padded(part.size - part.rows);
            }
            parts.push((part.rows, own_rows(run(&padded)?, part)?));
            from += part.rows;
        }
        rows::concatenate(parts)
    }
}

/// The rows of a part, of a tensor with `all` rows, padded to its size.
fn take_rows(tensor: &Tensor, all: u32, from: u32, part: Part) -> Tensor {
    let row = tensor.data.len() / all as usize;
    let start = from as usize * row;
    let own = &tensor.data[start..][..part.rows as usize * row];
    let mut data = Vec::with_capacity(part.size as usize * row);
    data.extend_from_slice(own);
    for _ in part.rows..part.size {
        data.extend_from_slice(&own[own.len() - row..]);
    }
    let mut dimensions = tensor.dimensions.clone();
    dimensions[0] = part.size;
    Tensor::new(dimensions, tensor.ty, data)
}

/// Removes the outputs of the added rows.
fn own_rows(outputs: Tensors, part: Part) -> Result<Tensors, RunError> {
    let own = |(name, tensor): (String, Tensor)| {
        if tensor.dimensions.first() != Some(&part.size) {
            return Err(RunError::BatchOutput { name, dimensions: tensor.dimensions, rows: part.size });
        }
        Ok((name, rows::slice(&tensor, part.size, 0, part.rows)))
    };
    outputs.into_iter().map(own).collect()
}

impl Model for PaddedModel {
    fn properties(&self) -> &ModelProperties {
        self.model.properties()
    }

    fn check_numbers(&self, index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        self.model.check_numbers(index, tensor)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_parts(inputs, |inputs| self.model.run(inputs))
    }

    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        self.run_parts(inputs, |inputs| self.model.run_unless_cancelled(inputs, cancellation))
    }

    fn arenas(&self) -> ArenaSizes {
        self.model.arenas()
    }

    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.model.warm(inputs)
    }

    fn reserve_buffers(&self, sizes: &[usize]) {
        self.model.reserve_buffers(sizes);
    }

    fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        self.model.buffer(bytes)
    }
}
