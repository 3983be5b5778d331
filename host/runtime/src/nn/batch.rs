//! Combines runs that wait for the same model at the same time into one run of the backend, because the time of a run grows
//! less than its size. Each guest waits in `compute` without a thread, and gets its own rows back.

use std::sync::Arc;
use std::time::Instant;

use plimsoll_onnx::RowProof;
use tokio::sync::{mpsc, oneshot};

use super::error::{LoadError, RunError};
use super::model::{Model, Signature};
use super::size_limit::{Limited, SizeLimit};
use crate::cap::Meter;
use crate::panics;
use crate::tensor::{Tensor, Tensors};

mod answer;
mod buffers;
mod callers;
mod cost;
mod former;
mod halving;
mod observer;
mod open;
mod open_batches;
mod padding;
mod prepare;
mod probe_rows;
mod row_check;
mod row_compare;
mod row_plan;
mod row_scale;
mod rows;
mod rows_touch;
mod rules;
mod sizes;
mod waiting;

use callers::{Caller, LeaveOnDrop};
pub use cost::RunCost;
pub(in crate::nn) use former::Admitted;
use former::form_batches;
use halving::HalvingModel;
pub use observer::BatchObserver;
use open::MAX_RESERVED;
pub(in crate::nn) use padding::PaddedModel;
pub use prepare::{PrepareError, prepare_sizes};
pub(in crate::nn) use prepare::{can_run_singly, input_with_new_shapes, prepare_single, single_run};
pub(in crate::nn) use probe_rows::{find_size, single};
pub use row_check::check_rows;
pub use rows::check_batch_axis;
pub use rows_touch::RowsTouch;
pub use rules::{BatchRules, HeldPermits};
pub use sizes::{BatchSizes, BatchSizesError};
use waiting::Waiting;

/// The batches of a model.
pub struct Batches {
    /// The limits.
    pub rules: BatchRules,
    /// The numbers of rows that runs are padded to. By default, the powers of two where the device prepares itself for
    /// new shapes, and no padding elsewhere: on the CPU a new shape costs nothing, and padding costs its rows.
    pub sizes: Option<BatchSizes>,
    /// Observes the batches.
    pub observer: Arc<dyn BatchObserver>,
    /// What the graph of the model proves about its rows.
    pub proof: RowProof,
    /// True if it is enough that a comparison finds no difference where the graph proves nothing.
    pub accepts_unproven: bool,
}

impl Batches {
    /// Checks that runs of a model can be batched, and prepares it for the sizes of its batches. `limit` is that of its runs.
    ///
    /// # Errors
    /// If the model has no batch axis, its rows depend on each other, or it cannot be run with a size.
    pub(in crate::nn) fn admit(
        &self,
        model: &Arc<dyn Model>,
        limit: Option<&SizeLimit>,
    ) -> Result<Admitted, LoadError> {
        let limited = Limited { model: &**model, limit };
        check_batch_axis(model.inputs(), model.outputs()).map_err(|error| LoadError(error.to_string()))?;
        let max_batch = self.rules.max_batch;
        reserve_buffers(&**model, max_batch);
        let cost = check_rows(&limited, max_batch, &self.proof, self.accepts_unproven)
            .map_err(|error| LoadError(error.to_string()))?;
        let sizes = match &self.sizes {
            Some(sizes) => sizes.clone(),
            None if model.properties().pays_for_new_shapes => {
                BatchSizes::powers_of_two(max_batch).map_err(|error| LoadError(format!("`max_batch`: {error}")))?
            }
            None => {
                let model = Arc::new(HalvingModel::new(Arc::clone(model)));
                return Ok(Admitted { model, sizes: None, cost });
            }
        };
        let cost = prepare_sizes(&limited, &sizes).map_err(|error| LoadError(error.to_string()))?;
        let padded = PaddedModel::new(Arc::clone(model), sizes.clone(), Arc::clone(&self.observer));
        Ok(Admitted { model: Arc::new(HalvingModel::new(Arc::new(padded))), sizes: Some(sizes), cost })
    }
}

/// Reserves buffers for the inputs of full batches. Where another dimension than the rows is dynamic, their sizes are not
/// known.
fn reserve_buffers(model: &dyn Model, max_batch: u32) {
    let size = |input: &Signature| {
        let row = input
            .shape
            .as_ref()?
            .get(1..)?
            .iter()
            .try_fold(input.types.first()?.size()?, |all, size| all.checked_mul((*size)? as usize))?;
        row.checked_mul(max_batch as usize).filter(|bytes| (1..=MAX_RESERVED).contains(bytes))
    };
    if let Some(sizes) = model.inputs().iter().map(size).collect::<Option<Vec<_>>>() {
        model.reserve_buffers(&sizes);
    }
}

/// Combines the runs of one model. Dropping it ends its task after all waiting runs are answered.
pub struct Batcher {
    sender: mpsc::UnboundedSender<Waiting>,
}

impl Batcher {
    /// Starts a task that forms batches. It waits for `permits` before it closes a batch, so that a batch fills while the
    /// backend is busy.
    pub(in crate::nn) fn start<F>(
        mut admitted: Admitted,
        rules: BatchRules,
        observer: Arc<dyn BatchObserver>,
        mut permits: impl Fn() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = HeldPermits> + Send + 'static,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // The runs of the batch that was being formed are answered with an error, because a panic drops them.
            while panics::catch(form_batches(&mut receiver, &mut admitted, rules, &*observer, &mut permits))
                .await
                .is_err()
            {
                observer.panicked();
            }
        });
        Self { sender }
    }

    /// Runs `inputs`, which fit the model, in a batch. `meter` learns how long they waited for it. If the future is dropped before the batch runs, the run is removed
    /// from it. If the futures of all runs of a batch are dropped, the batch ends as soon as the library can stop it.
    ///
    /// # Errors
    /// The library's own message.
    pub async fn run(&self, inputs: Vec<Tensor>, meter: Option<&Meter>) -> Result<Tensors, RunError> {
        let rows = rows::rows(&inputs)?;
        let (answer, answered) = oneshot::channel();
        let caller = Arc::new(Caller::default());
        let leaves = LeaveOnDrop(Arc::clone(&caller));
        let waiting = Waiting { inputs, rows, since: Instant::now(), answer, caller };
        self.sender.send(waiting).map_err(|_| RunError::Ended)?;
        let answer = answered.await.map_err(|_| RunError::Ended)?;
        if let (Some(meter), Some(wait)) = (meter, leaves.0.wait()) {
            meter.record_batch(wait);
        }
        answer
    }
}

#[cfg(test)]
mod tests;
