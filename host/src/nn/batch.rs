//! Batches across isolated instances: runs that wait for the same model at the same time become one run of the backend,
//! whose time grows less than its size. Each guest waits in `compute` without a thread, and gets its own rows back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::model::{Model, Outputs};
use super::tensor::Tensor;

mod rows;

pub use rows::check;

/// `max_batch` and `max_delay` of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Rows of one run at most.
    pub max_batch: u32,
    /// How long the first of a batch waits for others.
    pub max_delay: Duration,
}

/// What is told of every batch.
pub trait Observer: Send + Sync {
    /// A batch of `rows` rows for `requests` runs was formed, the first of which had waited for `waited`.
    fn batch(&self, rows: u32, requests: usize, waited: Duration);
}

/// Waits for the permission to run: held for as long as the run takes.
pub type Permits = Box<dyn Send>;

/// Gathers runs of one model. Dropping it ends its task, once what waits has been answered.
pub struct Batcher {
    sender: mpsc::UnboundedSender<Waiting>,
}

/// A run that waits.
struct Waiting {
    inputs: Vec<Tensor>,
    rows: u32,
    since: Instant,
    answer: oneshot::Sender<Result<Outputs, String>>,
}

impl Waiting {
    /// Whether two runs can share a batch: everything but the number of rows is alike.
    fn fits(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| a.ty == b.ty && a.dimensions[1..] == b.dimensions[1..];
        self.inputs.iter().zip(&other.inputs).all(alike)
    }
}

impl Batcher {
    /// Begins to gather, in a task of its own. `permits` is waited for before a batch is closed, so that a batch fills
    /// for as long as the backend has no room for it.
    pub fn start<F>(
        model: Arc<dyn Model>,
        rules: Rules,
        observer: Arc<dyn Observer>,
        permits: impl Fn() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Permits> + Send + 'static,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(gather(receiver, model, rules, observer, permits));
        Self { sender }
    }

    /// Runs `inputs`, which fit the model, in some batch. Whoever drops the future leaves the batch, unless it runs
    /// already.
    ///
    /// # Errors
    /// The library's own words.
    pub async fn run(&self, inputs: Vec<Tensor>) -> Result<Outputs, String> {
        let rows = rows::rows(&inputs)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { inputs, rows, since: Instant::now(), answer };
        let ended = |_| "the batch ended without an answer".to_owned();
        self.sender.send(waiting).map_err(|_| "the batcher has ended".to_owned())?;
        answered.await.map_err(ended)?
    }
}

async fn gather<F>(
    mut receiver: mpsc::UnboundedReceiver<Waiting>,
    model: Arc<dyn Model>,
    rules: Rules,
    observer: Arc<dyn Observer>,
    permits: impl Fn() -> F,
) where
    F: Future<Output = Permits> + Send,
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
        // The next batch gathers meanwhile, and waits for permits of its own.
        tokio::task::spawn_blocking(move || {
            let _permits = permits;
            answer(&*model, batch);
        });
    }
}

/// Waits until there is a whole batch, or the first of the queue has waited for `max_delay`.
async fn fill(queue: &mut VecDeque<Waiting>, receiver: &mut mpsc::UnboundedReceiver<Waiting>, rules: Rules) {
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

/// Takes the first run and those after it that fit beside it. Who has gone away is left out.
fn take(queue: &mut VecDeque<Waiting>, max_batch: u32) -> Vec<Waiting> {
    queue.retain(|waiting| !waiting.answer.is_closed());
    let mut batch: Vec<Waiting> = Vec::new();
    let mut rows = 0u32;
    let mut at = 0;
    while at < queue.len() {
        let next = &queue[at];
        // The first is taken whatever its size: one request may be larger than a batch.
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

/// One run. A backend that panics has failed like one that says so.
fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Outputs, String> {
    catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or_else(|_| Err("the backend panicked".to_owned()))
}

/// Runs a batch and gives each its rows. If the whole fails, each is run alone: the error of one is not the others'.
fn answer(model: &dyn Model, batch: Vec<Waiting>) {
    if let [single] = batch.as_slice() {
        let result = run(model, &single.inputs);
        let [single] = <[Waiting; 1]>::try_from(batch).unwrap_or_else(|_| unreachable!("just matched"));
        let _ = single.answer.send(result);
        return;
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
            tracing::warn!("a batch of {} failed and its runs are made alone: {error}", sizes.len());
            for waiting in batch {
                let result = run(model, &waiting.inputs);
                let _ = waiting.answer.send(result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::nn::TensorType;
    use crate::nn::model::Signature;

    /// Gives each input doubled; fails where one is negative, and breaks where one is infinite.
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

        fn run(&self, inputs: &[Tensor]) -> Result<Outputs, String> {
            let [input] = inputs else { return Err("one input".into()) };
            self.runs.lock().expect("whole").push(input.dimensions[0]);
            let values: &[f32] = bytemuck::cast_slice(&input.data);
            if values.iter().any(|value| *value < 0.0) {
                return Err("a negative number".into());
            }
            assert!(values.iter().all(|value| value.is_finite()), "the backend breaks");
            let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
            let data = bytemuck::cast_slice(&doubled).to_vec();
            Ok(vec![("y".into(), Tensor::new(input.dimensions.clone(), input.ty, data))])
        }
    }

    struct Unobserved;

    impl Observer for Unobserved {
        fn batch(&self, _rows: u32, _requests: usize, _waited: Duration) {}
    }

    fn numbers(rows: u32, value: f32) -> Vec<Tensor> {
        let values = vec![value; rows as usize * 2];
        vec![Tensor::new(vec![rows, 2], TensorType::Fp32, bytemuck::cast_slice(&values).to_vec())]
    }

    fn first(outputs: Result<Outputs, String>) -> Result<(Vec<u32>, f32), String> {
        let outputs = outputs?;
        let (_, tensor) = &outputs[0];
        Ok((tensor.dimensions.clone(), bytemuck::cast_slice::<u8, f32>(&tensor.data)[0]))
    }

    /// A batcher whose backend has room only as the gate gives permits.
    fn batcher(max_batch: u32) -> (Arc<Double>, Arc<Semaphore>, Arc<Batcher>) {
        let model = Arc::new(Double { signatures: Vec::new(), runs: Mutex::default() });
        let gate = Arc::new(Semaphore::new(0));
        let rules = Rules { max_batch, max_delay: Duration::ZERO };
        let held = Arc::clone(&gate);
        let permits = move || {
            let gate = Arc::clone(&held);
            async move {
                let permit = gate.acquire_owned().await.expect("never closed");
                permit.forget();
                Box::new(()) as Permits
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
    async fn who_waits_at_the_same_time_shares_a_run_and_gets_its_own_rows() {
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
    async fn an_error_is_only_of_the_request_that_made_it() {
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
        assert_eq!(answers[1], Err("a negative number".into()));
        assert_eq!(answers[2], Ok((vec![1, 2], 6.0)));
        assert_eq!(answers[3], Err("the backend panicked".into()));
        assert_eq!(*model.runs.lock().expect("whole"), [4, 1, 1, 1, 1], "together, then each alone");
    }

    #[tokio::test]
    async fn who_goes_away_is_not_run() {
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
