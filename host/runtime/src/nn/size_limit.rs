//! Refuses runs that would need values too large to allocate. Otherwise the engine or the operating system would end
//! the process.

mod admission;
mod estimate;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

pub(super) use self::admission::Limited;
use self::estimate::{Estimates, Inputs, Judgement};
use super::error::RunError;
use super::model::{Model, Signature};
use crate::tensor::Tensor;

/// How many combinations of inputs are remembered.
const REMEMBERED: usize = 64;

/// Estimates the sizes of a run. The inner error says why it is refused.
type Judge = dyn Fn(&Inputs) -> Result<Judgement, RunError> + Send + Sync;

/// The limit of a model whose values have other sizes in other runs.
pub(super) struct SizeLimit {
    /// Takes up to a few tenths of a second, so it runs on threads for blocking work.
    judge: Arc<Judge>,
    /// The inputs whose integers decide about sizes.
    sizing: Vec<bool>,
    /// Bounds the estimates that run at the same time.
    turns: Arc<Semaphore>,
    /// The inputs of runs, those of the latest run first, and why they are refused. Locked only while it is read or
    /// changed.
    judged: Mutex<VecDeque<(Inputs, Judgement)>>,
}

impl SizeLimit {
    /// `bytes` are the model's file. `None` if it is not an ONNX model, or if its values have the same sizes in every run.
    pub(super) fn new(bytes: &[u8], model: &dyn Model) -> Option<Self> {
        // What follows from no elements is judged, although it is the same in every run.
        let is_fixed = |input: &Signature| {
            input.shape.as_ref().is_some_and(|shape| shape.iter().all(|size| size.is_some_and(|size| size > 0)))
        };
        if model.inputs().iter().all(is_fixed) && !model.properties().time_depends_on_values {
            return None;
        }
        let names = model.inputs().iter().map(|input| input.name.clone()).collect();
        let estimates = Estimates::new(bytes, names)?;
        let sizing = estimates.sizing();
        Some(Self::of(Arc::new(move |inputs| estimates.judge(inputs)), sizing))
    }

    fn of(judge: Arc<Judge>, sizing: Vec<bool>) -> Self {
        let turns = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        Self { judge, sizing, turns: Arc::new(Semaphore::new(turns)), judged: Mutex::default() }
    }

    /// Checks a run. `tensors` are in the order of the model's inputs.
    ///
    /// # Errors
    /// `TooLarge` names the node, the number of elements and the limit.
    pub(super) async fn check(&self, tensors: &[Tensor]) -> Result<(), RunError> {
        self.check_inputs(self.inputs(tensors)).await
    }

    /// As [`SizeLimit::check`], on a thread that may block.
    ///
    /// # Errors
    /// As [`SizeLimit::check`].
    pub(super) fn check_here(&self, tensors: &[Tensor]) -> Result<(), RunError> {
        (self.judge)(&self.inputs(tensors))?.map_err(RunError::TooLarge)
    }

    fn inputs(&self, tensors: &[Tensor]) -> Inputs {
        let inputs = tensors.iter().zip(&self.sizing);
        let inputs = inputs.map(|(tensor, is_sizing)| {
            (tensor.dimensions.clone(), is_sizing.then(|| estimate::integers(tensor)).flatten())
        });
        inputs.collect()
    }

    /// Checks a batch of `rows` rows of such runs; the first dimension of each input is the batch.
    ///
    /// # Errors
    /// As [`SizeLimit::check`]. Also if the sizes of the run depend on its numbers, because numbers of other runs may
    /// be larger.
    pub(super) async fn check_batch(&self, tensors: &[Tensor], rows: u32) -> Result<(), RunError> {
        let decides = |(tensor, is_sizing): (&Tensor, &bool)| *is_sizing && estimate::integers(tensor).is_some();
        if tensors.iter().zip(&self.sizing).any(decides) {
            return Err(RunError::TooLarge("the sizes in the batch depend on numbers in one of its runs".into()));
        }
        let of_batch = |tensor: &Tensor| {
            let mut shape = tensor.dimensions.clone();
            if let Some(first) = shape.first_mut() {
                *first = rows.max(*first);
            }
            (shape, None)
        };
        self.check_inputs(tensors.iter().map(of_batch).collect()).await
    }

    async fn check_inputs(&self, inputs: Inputs) -> Result<(), RunError> {
        if let Some(verdict) = self.remembered(&inputs) {
            return verdict.map_err(RunError::TooLarge);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| RunError::Ended)?;
        // Another run with the same inputs may have been judged meanwhile.
        if let Some(verdict) = self.remembered(&inputs) {
            return verdict.map_err(RunError::TooLarge);
        }
        let judge = Arc::clone(&self.judge);
        let judged = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            (judge(&inputs), inputs)
        });
        let (verdict, inputs) = judged.await.map_err(|error| match error.is_panic() {
            true => RunError::Panicked,
            false => RunError::Ended,
        })?;
        let verdict = verdict?;
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.push_front((inputs, verdict.clone()));
        judged.truncate(REMEMBERED);
        drop(judged);
        verdict.map_err(RunError::TooLarge)
    }

    fn remembered(&self, inputs: &Inputs) -> Option<Judgement> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let at = judged.iter().position(|(other, _)| other == inputs)?;
        let found = judged.remove(at)?;
        let verdict = found.1.clone();
        judged.push_front(found);
        Some(verdict)
    }
}

#[cfg(test)]
mod tests;
