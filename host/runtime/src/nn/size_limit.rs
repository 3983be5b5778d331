//! Refuses runs that would need values too large to allocate. Otherwise the engine or the operating system would end
//! the process.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use plimsoll_onnx::{LARGEST_TOTAL, LARGEST_VALUE, RunSizes};

use super::model::{RunError, Signature};
use crate::tensor::Tensor;

/// How many combinations of shapes are remembered.
const REMEMBERED: usize = 64;

/// The shapes of the inputs of a run.
type Shapes = Vec<Vec<u32>>;
/// Why a run is refused.
type Judgement = Result<(), String>;

/// The limit of a model with dynamic dimensions.
pub(super) struct SizeLimit {
    /// Only locked for shapes that were not seen before.
    sizes: Mutex<RunSizes>,
    /// The shapes of the inputs of runs, those of the latest run first, and why they are refused.
    judged: Mutex<VecDeque<(Shapes, Judgement)>>,
}

impl SizeLimit {
    /// `bytes` are the model's file. `None` if it is not an ONNX model, or fixes all shapes, because its values then have
    /// the same sizes in every run.
    pub(super) fn new(bytes: &[u8], inputs: &[Signature]) -> Option<Self> {
        let is_fixed = |input: &Signature| input.shape.as_ref().is_some_and(|shape| shape.iter().all(Option::is_some));
        if inputs.iter().all(is_fixed) {
            return None;
        }
        Some(Self { sizes: Mutex::new(RunSizes::of_model(bytes)?), judged: Mutex::default() })
    }

    /// Checks the shapes of a run. `tensors` are in the order of `inputs`.
    ///
    /// # Errors
    /// `TooLarge` names the node, the number of elements and the limit.
    pub(super) fn check(&self, inputs: &[Signature], tensors: &[Tensor]) -> Result<(), RunError> {
        self.check_shapes(inputs, tensors.iter().map(|tensor| tensor.dimensions.clone()).collect())
    }

    /// Checks the shapes of a batch of `rows` rows of such runs; the first dimension of each input is the batch.
    ///
    /// # Errors
    /// As [`SizeLimit::check`].
    pub(super) fn check_batch(&self, inputs: &[Signature], tensors: &[Tensor], rows: u32) -> Result<(), RunError> {
        let of_batch = |tensor: &Tensor| {
            let mut shape = tensor.dimensions.clone();
            if let Some(first) = shape.first_mut() {
                *first = rows.max(*first);
            }
            shape
        };
        self.check_shapes(inputs, tensors.iter().map(of_batch).collect())
    }

    fn check_shapes(&self, inputs: &[Signature], shapes: Shapes) -> Result<(), RunError> {
        {
            let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = judged.iter().position(|(other, _)| *other == shapes)
                && let Some(found) = judged.remove(at)
            {
                let verdict = found.1.clone();
                judged.push_front(found);
                return verdict.map_err(RunError::TooLarge);
            }
        }
        let verdict = self.judge(inputs, &shapes)?;
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.push_front((shapes, verdict.clone()));
        judged.truncate(REMEMBERED);
        drop(judged);
        verdict.map_err(RunError::TooLarge)
    }

    /// Estimates the sizes of a run. The inner error says why it is refused.
    fn judge(&self, inputs: &[Signature], shapes: &[Vec<u32>]) -> Result<Judgement, RunError> {
        let named: Vec<(&str, &[u32])> =
            inputs.iter().zip(shapes).map(|(input, shape)| (input.name.as_str(), shape.as_slice())).collect();
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic is logged and counted by the host. It is not the fault of the caller.
        let peaks = sizes.peaks(&named).map_err(|_| RunError::Panicked)?;
        drop(sizes);
        if let Some((node, operator)) = peaks.empty {
            return Ok(Err(format!(
                "with inputs of these shapes, node `{node}` ({operator}) would get a value without elements, which the \
                 backend cannot compute; send inputs with at least one element"
            )));
        }
        if let Some(largest) = peaks.value.filter(|largest| largest.elements > LARGEST_VALUE) {
            return Ok(Err(format!(
                "with inputs of these shapes, node `{}` ({}) would compute {} elements; at most {LARGEST_VALUE} are \
                 allowed in one value; send smaller inputs",
                largest.node, largest.operator, largest.elements
            )));
        }
        if let Some(total) = peaks.total.filter(|total| total.elements > LARGEST_TOTAL) {
            return Ok(Err(format!(
                "with inputs of these shapes, the model would need {} elements in all values at node `{}` ({}); at most \
                 {LARGEST_TOTAL} are allowed at the same time; send smaller inputs",
                total.elements, total.node, total.operator
            )));
        }
        Ok(Ok(()))
    }
}
