//! Refuses runs that would need values too large to allocate. The engine would end the process, or the system would.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use plimsoll_onnx::{LARGEST_VALUE, RunSizes};

use super::model::{RunError, Signature};
use crate::tensor::Tensor;

/// How many accepted combinations of shapes are remembered.
const REMEMBERED: usize = 64;

/// The limit of a model with dynamic dimensions.
pub(super) struct SizeLimit {
    /// Only locked for shapes that were not seen before.
    sizes: Mutex<RunSizes>,
    /// The shapes of the inputs of runs that were accepted, the latest first.
    accepted: Mutex<VecDeque<Vec<Vec<u32>>>>,
}

impl SizeLimit {
    /// `bytes` are the model's file. `None` if it is not an ONNX model, or fixes all shapes, because its values then have
    /// the same sizes in every run.
    pub(super) fn new(bytes: &[u8], inputs: &[Signature]) -> Option<Self> {
        let is_fixed = |input: &Signature| input.shape.as_ref().is_some_and(|shape| shape.iter().all(Option::is_some));
        if inputs.iter().all(is_fixed) {
            return None;
        }
        Some(Self { sizes: Mutex::new(RunSizes::of_model(bytes)?), accepted: Mutex::default() })
    }

    /// Checks the shapes of a run. `tensors` are in the order of `inputs`.
    ///
    /// # Errors
    /// `TooLarge` names the node, the number of elements and the limit.
    pub(super) fn check(&self, inputs: &[Signature], tensors: &[Tensor]) -> Result<(), RunError> {
        let is_same = |shapes: &Vec<Vec<u32>>| {
            shapes.len() == tensors.len()
                && shapes.iter().zip(tensors).all(|(shape, tensor)| *shape == tensor.dimensions)
        };
        if self.accepted.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_same) {
            return Ok(());
        }
        let shapes: Vec<(&str, &[u32])> = inputs
            .iter()
            .zip(tensors)
            .map(|(input, tensor)| (input.name.as_str(), tensor.dimensions.as_slice()))
            .collect();
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = sizes.largest(&shapes).map_err(|error| RunError::Backend(error.to_string()))?;
        drop(sizes);
        if let Some(largest) = largest.filter(|largest| largest.elements > LARGEST_VALUE) {
            return Err(RunError::TooLarge(format!(
                "with inputs of these shapes, node `{}` ({}) would compute {} elements; at most {LARGEST_VALUE} are \
                 allowed in one value; send smaller inputs",
                largest.node, largest.operator, largest.elements
            )));
        }
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.push_front(tensors.iter().map(|tensor| tensor.dimensions.clone()).collect());
        accepted.truncate(REMEMBERED);
        Ok(())
    }
}
