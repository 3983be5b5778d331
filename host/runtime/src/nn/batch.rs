//! Combines runs that wait for the same model at the same time into one run of the backend, because the time of a run grows
//! less than its size. Each guest waits in `compute` without a thread, and gets its own rows back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_onnx::RowProof;
use tokio::sync::{mpsc, oneshot};

use super::error::{LoadError, RunError};
use super::model::Model;
use crate::panics;
use crate::tensor::{Tensor, Tensors};

mod callers;
mod halving;
mod observer;
mod padding;
mod prepare;
mod probe_rows;
mod row_check;
mod rows;
mod sizes;
mod waiting;

use callers::{Caller, LeaveOnDrop, SharedRun};
use halving::HalvingModel;
pub use observer::BatchObserver;
pub(in crate::nn) use padding::PaddedModel;
pub use prepare::{PrepareError, prepare_sizes};
pub(in crate::nn) use prepare::{prepare_single, single_run};
pub use row_check::{RowsTouch, check_rows};
pub use rows::check_batch_axis;
pub use sizes::{BatchSizes, BatchSizesError};
use waiting::Waiting;

/// The limits of a model's batches: `max_batch` and `max_delay` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// Maximum rows of one batch.
    pub max_batch: u32,
    /// How long the first run of a batch waits for others.
    pub max_delay: Duration,
}

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
}

impl Batches {
    /// Checks that runs of a model can be batched, prepares it for the sizes of its batches, and returns the model that
    /// batches run on.
    ///
    /// # Errors
    /// If the model has no batch axis, its rows depend on each other, or it cannot be run with a size.
    pub(in crate::nn) fn admit(&self, model: &Arc<dyn Model>) -> Result<Arc<dyn Model>, LoadError> {
        check_batch_axis(model.inputs(), model.outputs()).map_err(|error| LoadError(error.to_string()))?;
        let max_batch = self.rules.max_batch;
        check_rows(&**model, max_batch, &self.proof).map_err(|error| LoadError(error.to_string()))?;
        let sizes = match &self.sizes {
            Some(sizes) => sizes.clone(),
            None if model.pays_for_new_shapes() => {
                BatchSizes::powers_of_two(max_batch).map_err(|error| LoadError(format!("`max_batch`: {error}")))?
            }
            None => return Ok(Arc::new(HalvingModel::new(Arc::clone(model)))),
        };
        prepare_sizes(&**model, &sizes).map_err(|error| LoadError(error.to_string()))?;
        let padded = PaddedModel::new(Arc::clone(model), sizes, Arc::clone(&self.observer));
        Ok(Arc::new(HalvingModel::new(Arc::new(padded))))
    }
}

/// The permits that are held while a batch runs.
pub type HeldPermits = Box<dyn Send>;

/// Combines the runs of one model. Dropping it ends its task after all waiting runs are answered.
pub struct Batcher {
    sender: mpsc::UnboundedSender<Waiting>,
}

impl Batcher {
    /// Starts a task that forms batches. It waits for `permits` before it closes a batch, so that a batch fills while the
    /// backend is busy.
    pub fn start<F>(
        model: Arc<dyn Model>,
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
            while panics::catch(form_batches(&mut receiver, &model, rules, &*observer, &mut permits)).await.is_err() {
                observer.panicked();
            }
        });
        Self { sender }
    }

    /// Runs `inputs`, which fit the model, in a batch. If the future is dropped before the batch runs, the run is removed
    /// from it. If the futures of all runs of a batch are dropped, the batch ends as soon as the library can stop it.
    ///
    /// # Errors
    /// The library's own message.
    pub async fn run(&self, inputs: Vec<Tensor>) -> Result<Tensors, RunError> {
        let rows = rows::rows(&inputs)?;
        let (answer, answered) = oneshot::channel();
        let caller = Arc::new(Caller::default());
        let _leaves = LeaveOnDrop(Arc::clone(&caller));
        let waiting = Waiting { inputs, rows, since: Instant::now(), answer, caller };
        self.sender.send(waiting).map_err(|_| RunError::Ended)?;
        answered.await.map_err(|_| RunError::Ended)?
    }
}

async fn form_batches<F>(
    receiver: &mut mpsc::UnboundedReceiver<Waiting>,
    model: &Arc<dyn Model>,
    rules: BatchRules,
    observer: &dyn BatchObserver,
    permits: &mut (impl Fn() -> F + Send),
) where
    F: Future<Output = HeldPermits> + Send,
{
    let mut queue: VecDeque<Waiting> = VecDeque::new();
    loop {
        if queue.is_empty() {
            match receiver.recv().await {
                Some(waiting) => queue.push_back(waiting),
                None => return,
            }
        }
        let permits = permits().await;
        fill(&mut queue, receiver, rules).await;
        let batch = take(&mut queue, rules.max_batch);
        let Some(first) = batch.first() else { continue };
        observer.batch(batch.iter().map(|waiting| waiting.rows).sum(), batch.len(), first.since.elapsed());
        let model = Arc::clone(model);
        // Meanwhile the next batch forms, and waits for its own permits.
        tokio::task::spawn_blocking(move || {
            let _permits = permits;
            answer(&*model, batch);
        });
    }
}

/// Waits until a batch is full, or the first run in the queue has waited for `max_delay`.
async fn fill(queue: &mut VecDeque<Waiting>, receiver: &mut mpsc::UnboundedReceiver<Waiting>, rules: BatchRules) {
    let Some(until) = queue.front().map(|first| first.since + rules.max_delay) else { return };
    loop {
        while let Ok(waiting) = receiver.try_recv() {
            queue.push_back(waiting);
        }
        let rows: u64 = queue.iter().map(|waiting| u64::from(waiting.rows)).sum();
        if rows >= u64::from(rules.max_batch) || Instant::now() >= until {
            return;
        }
        match tokio::time::timeout_at(until.into(), receiver.recv()).await {
            Ok(Some(waiting)) => queue.push_back(waiting),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Takes the first run and the runs after it that fit into its batch. Drops runs whose caller has disconnected.
fn take(queue: &mut VecDeque<Waiting>, max_batch: u32) -> Vec<Waiting> {
    queue.retain(|waiting| !waiting.answer.is_closed());
    let mut batch: Vec<Waiting> = Vec::new();
    let mut rows = 0u32;
    let mut at = 0;
    while at < queue.len() {
        let next = &queue[at];
        // The first run is always taken, because one request may be larger than a batch.
        let room = batch.is_empty() || rows.saturating_add(next.rows) <= max_batch;
        if room && batch.first().is_none_or(|first| first.fits(next)) {
            rows = rows.saturating_add(next.rows);
            batch.extend(queue.remove(at));
        } else {
            at += 1;
        }
    }
    batch
}

/// Makes a run. A panic, for example of the backend, is an error of the run.
fn caught<T>(run: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(RunError::Panicked))
}

/// Runs a batch and answers each run with its rows. If the batch fails, each run is repeated alone, so that the error of one
/// does not reach the others.
fn answer(model: &dyn Model, batch: Vec<Waiting>) {
    if batch.len() == 1 {
        return answer_alone(model, batch);
    }
    let sizes: Vec<u32> = batch.iter().map(|waiting| waiting.rows).collect();
    let run = SharedRun::of(batch.iter().map(|waiting| &*waiting.caller));
    let outputs = caught(|| {
        let outputs = model.run_unless_cancelled(&rows::join(&batch), &run.cancellation)?;
        rows::split(&outputs, &sizes)
    });
    match outputs {
        Err(_) if run.cancellation.is_cancelled() => {}
        Ok(parts) => {
            for (waiting, outputs) in batch.into_iter().zip(parts) {
                let _ = waiting.answer.send(Ok(outputs));
            }
        }
        Err(error) => {
            tracing::warn!("a batch of {} runs failed; each is repeated alone: {error}", sizes.len());
            answer_alone(model, batch);
        }
    }
}

/// Runs and answers each run alone, if its caller still waits.
fn answer_alone(model: &dyn Model, batch: Vec<Waiting>) {
    for waiting in batch {
        let run = SharedRun::of(std::iter::once(&*waiting.caller));
        let result = caught(|| model.run_unless_cancelled(&waiting.inputs, &run.cancellation));
        let _ = waiting.answer.send(result);
    }
}

#[cfg(test)]
mod tests;
