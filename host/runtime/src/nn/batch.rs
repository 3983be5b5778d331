//! Combines runs that wait for the same model at the same time into one run of the backend, because the time of a run grows
//! less than its size. Each guest waits in `compute` without a thread, and gets its own rows back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::model::{Model, RunError};
use crate::tensor::{Tensor, Tensors};

mod rows;

pub use rows::check_batch_axis;

/// The limits of a model's batches: `max_batch` and `max_delay` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// Maximum rows of one batch.
    pub max_batch: u32,
    /// How long the first run of a batch waits for others.
    pub max_delay: Duration,
}

/// Observes the batches of a model.
pub trait BatchObserver: Send + Sync {
    /// A batch of `rows` rows for `requests` runs was formed; the first of them had waited for `waited`.
    fn batch(&self, rows: u32, requests: usize, waited: Duration);
}

/// The permits that are held while a batch runs.
pub type HeldPermits = Box<dyn Send>;

/// Combines the runs of one model. Dropping it ends its task after all waiting runs are answered.
pub struct Batcher {
    sender: mpsc::UnboundedSender<Waiting>,
}

/// A waiting run.
struct Waiting {
    inputs: Vec<Tensor>,
    rows: u32,
    since: Instant,
    answer: oneshot::Sender<Result<Tensors, RunError>>,
}

impl Waiting {
    /// Returns true if two runs can share a batch: types and shapes are equal, except for the number of rows.
    fn fits(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| a.ty == b.ty && a.dimensions[1..] == b.dimensions[1..];
        self.inputs.iter().zip(&other.inputs).all(alike)
    }
}

impl Batcher {
    /// Starts a task that forms batches. It waits for `permits` before it closes a batch, so that a batch fills while the
    /// backend is busy.
    pub fn start<F>(
        model: Arc<dyn Model>,
        rules: BatchRules,
        observer: Arc<dyn BatchObserver>,
        permits: impl Fn() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = HeldPermits> + Send + 'static,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(form_batches(receiver, model, rules, observer, permits));
        Self { sender }
    }

    /// Runs `inputs`, which fit the model, in a batch. If the future is dropped before the batch runs, the run is removed
    /// from it.
    ///
    /// # Errors
    /// The library's own message.
    pub async fn run(&self, inputs: Vec<Tensor>) -> Result<Tensors, RunError> {
        let rows = rows::rows(&inputs)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { inputs, rows, since: Instant::now(), answer };
        self.sender.send(waiting).map_err(|_| RunError::Ended)?;
        answered.await.map_err(|_| RunError::Ended)?
    }
}

async fn form_batches<F>(
    mut receiver: mpsc::UnboundedReceiver<Waiting>,
    model: Arc<dyn Model>,
    rules: BatchRules,
    observer: Arc<dyn BatchObserver>,
    permits: impl Fn() -> F,
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
        fill(&mut queue, &mut receiver, rules).await;
        let batch = take(&mut queue, rules.max_batch);
        let Some(first) = batch.first() else { continue };
        observer.batch(batch.iter().map(|waiting| waiting.rows).sum(), batch.len(), first.since.elapsed());
        let model = Arc::clone(&model);
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

/// Runs the model. A panic of the backend is an error of the run.
fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Tensors, RunError> {
    catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or(Err(RunError::Panicked))
}

/// Runs a batch and answers each run with its rows. If the batch fails, each run is repeated alone, so that the error of one
/// does not reach the others.
fn answer(model: &dyn Model, batch: Vec<Waiting>) {
    if batch.len() == 1 {
        return answer_alone(model, batch);
    }
    let sizes: Vec<u32> = batch.iter().map(|waiting| waiting.rows).collect();
    let parts = run(model, &rows::join(&batch)).and_then(|outputs| rows::split(&outputs, &sizes));
    match parts {
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

/// Runs and answers each run alone.
fn answer_alone(model: &dyn Model, batch: Vec<Waiting>) {
    for waiting in batch {
        let result = run(model, &waiting.inputs);
        let _ = waiting.answer.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::nn::model::Signature;
    use crate::tensor::TensorType;

    /// Doubles each input; fails if one is negative, and panics if one is infinite.
    struct Double {
        signatures: Vec<Signature>,
        runs: Mutex<Vec<u32>>,
    }

    impl Model for Double {
        fn inputs(&self) -> &[Signature] {
            &self.signatures
        }

        fn outputs(&self) -> &[Signature] {
            &self.signatures
        }

        fn concurrent_runs(&self) -> usize {
            1
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
            let [input] = inputs else { return Err(RunError::backend("one input")) };
            self.runs.lock().expect("whole").push(input.dimensions[0]);
            let values: &[f32] = bytemuck::cast_slice(&input.data);
            if values.iter().any(|value| *value < 0.0) {
                return Err(RunError::backend("a negative number"));
            }
            assert!(values.iter().all(|value| value.is_finite()), "the backend breaks");
            let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
            let data = bytemuck::cast_slice(&doubled).to_vec();
            Ok(vec![("y".into(), Tensor::new(input.dimensions.clone(), input.ty, data))])
        }
    }

    struct Unobserved;

    impl BatchObserver for Unobserved {
        fn batch(&self, _rows: u32, _requests: usize, _waited: Duration) {}
    }

    fn numbers(rows: u32, value: f32) -> Vec<Tensor> {
        let values = vec![value; rows as usize * 2];
        vec![Tensor::new(vec![rows, 2], TensorType::Fp32, bytemuck::cast_slice(&values).to_vec())]
    }

    fn first(outputs: Result<Tensors, RunError>) -> Result<(Vec<u32>, f32), RunError> {
        let outputs = outputs?;
        let (_, tensor) = &outputs[0];
        Ok((tensor.dimensions.clone(), bytemuck::cast_slice::<u8, f32>(&tensor.data)[0]))
    }

    /// A batcher whose backend runs one batch for each permit of the gate.
    fn batcher(max_batch: u32) -> (Arc<Double>, Arc<Semaphore>, Arc<Batcher>) {
        let model = Arc::new(Double { signatures: Vec::new(), runs: Mutex::default() });
        let gate = Arc::new(Semaphore::new(0));
        let rules = BatchRules { max_batch, max_delay: Duration::ZERO };
        let held = Arc::clone(&gate);
        let permits = move || {
            let gate = Arc::clone(&held);
            async move {
                let permit = gate.acquire_owned().await.expect("never closed");
                permit.forget();
                Box::new(()) as HeldPermits
            }
        };
        let shared: Arc<dyn Model> = model.clone();
        (model, gate, Arc::new(Batcher::start(shared, rules, Arc::new(Unobserved), permits)))
    }

    /// Lets every other task run until it waits.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn runs_that_wait_at_the_same_time_share_a_batch_and_get_their_own_rows() {
        let (model, gate, batcher) = batcher(8);
        let runs: Vec<_> = (1..=4u8)
            .map(|n| {
                let batcher = Arc::clone(&batcher);
                tokio::spawn(async move { first(batcher.run(numbers(n.into(), n.into())).await) })
            })
            .collect();
        settle().await;
        gate.add_permits(2);
        for (n, run) in (1..=4u8).zip(runs) {
            assert_eq!(run.await.expect("no panic"), Ok((vec![n.into(), 2], 2.0 * f32::from(n))));
        }
        let runs = model.runs.lock().expect("whole").clone();
        assert_eq!((runs.len(), runs.iter().sum::<u32>()), (2, 10), "at most 8 rows at once: {runs:?}");
    }

    #[tokio::test]
    async fn an_error_reaches_only_the_run_that_caused_it() {
        let (model, gate, batcher) = batcher(8);
        let runs: Vec<_> = [1.0, -1.0, 3.0, f32::INFINITY]
            .map(|value| {
                let batcher = Arc::clone(&batcher);
                tokio::spawn(async move { first(batcher.run(numbers(1, value)).await) })
            })
            .into();
        settle().await;
        gate.add_permits(1);
        let mut answers = Vec::new();
        for run in runs {
            answers.push(run.await.expect("no panic"));
        }
        assert_eq!(answers[0], Ok((vec![1, 2], 2.0)));
        assert_eq!(answers[1], Err(RunError::backend("a negative number")));
        assert_eq!(answers[2], Ok((vec![1, 2], 6.0)));
        assert_eq!(answers[3], Err(RunError::Panicked));
        assert_eq!(*model.runs.lock().expect("whole"), [4, 1, 1, 1, 1], "together, then each alone");
    }

    #[tokio::test]
    async fn a_disconnected_caller_is_removed_from_the_batch() {
        let (model, gate, batcher) = batcher(8);
        let gone = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { batcher.run(numbers(5, 1.0)).await }
        });
        let stays = tokio::spawn(async move { first(batcher.run(numbers(1, 2.0)).await) });
        settle().await;
        gone.abort();
        settle().await;
        gate.add_permits(1);
        assert_eq!(stays.await.expect("no panic"), Ok((vec![1, 2], 4.0)));
        assert_eq!(*model.runs.lock().expect("whole"), [1]);
    }
}
