//! The batcher with a model that doubles its input.

mod flow;
mod padding_tests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::nn::cancellation::Cancellation;
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

    fn padded(&self, _rows: u32) {}

    fn copied(&self, _bytes: usize) {}

    fn panicked(&self) {}
}

/// Panics at the first batch, and counts the panics that are reported to it.
#[derive(Default)]
struct Panicking {
    batches: AtomicU32,
    panics: AtomicU32,
}

impl BatchObserver for Panicking {
    fn batch(&self, _rows: u32, _requests: usize, _waited: Duration) {
        assert_ne!(self.batches.fetch_add(1, Relaxed), 0, "the first batch panics");
    }

    fn padded(&self, _rows: u32) {}

    fn copied(&self, _bytes: usize) {}

    fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }
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
    observed_batcher(max_batch, Arc::new(Unobserved))
}

fn observed_batcher(max_batch: u32, observer: Arc<dyn BatchObserver>) -> (Arc<Double>, Arc<Semaphore>, Arc<Batcher>) {
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
    (model, gate, Arc::new(Batcher::start(admitted(shared), rules, observer, permits)))
}

/// A model whose runs have an unknown cost.
fn admitted(model: Arc<dyn Model>) -> Admitted {
    Admitted { model, sizes: None, cost: RunCost::default() }
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

#[tokio::test]
async fn batches_are_formed_after_a_panic_which_is_reported() {
    let observer = Arc::new(Panicking::default());
    let (_, gate, batcher) = observed_batcher(8, observer.clone());
    gate.add_permits(2);
    assert_eq!(batcher.run(numbers(1, 1.0)).await.err(), Some(RunError::Ended));
    assert_eq!(first(batcher.run(numbers(1, 2.0)).await), Ok((vec![1, 2], 4.0)));
    assert_eq!(observer.panics.load(Relaxed), 1);
}

/// A model whose runs last until they are stopped. It tells when a run starts and when it is stopped.
struct UntilStopped {
    events: Mutex<std::sync::mpsc::Sender<&'static str>>,
}

impl Model for UntilStopped {
    fn inputs(&self) -> &[Signature] {
        &[]
    }

    fn outputs(&self) -> &[Signature] {
        &[]
    }

    fn concurrent_runs(&self) -> usize {
        1
    }

    fn run(&self, _inputs: &[Tensor]) -> Result<Tensors, RunError> {
        Err(RunError::backend("a run that nothing can stop"))
    }

    fn run_unless_cancelled(&self, _inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        let tell = |event| self.events.lock().expect("whole").send(event).expect("the test listens");
        let (stop, stopped) = std::sync::mpsc::channel();
        tell("started");
        cancellation.during(move || stop.send(()).unwrap_or_default(), || stopped.recv()).expect("stopped");
        tell("stopped");
        Err(RunError::Cancelled)
    }
}

/// A batch continues while one of its callers waits, and ends when the last one is gone.
#[tokio::test]
async fn a_batch_without_callers_is_stopped() {
    for callers in [1_u32, 3] {
        let (events, told) = std::sync::mpsc::channel();
        let model: Arc<dyn Model> = Arc::new(UntilStopped { events: Mutex::new(events) });
        let rules = BatchRules { max_batch: callers, max_delay: Duration::from_mins(1) };
        let permits = || async { Box::new(()) as HeldPermits };
        let batcher = Batcher::start(admitted(model), rules, Arc::new(Unobserved), permits);
        let batcher = Arc::new(batcher);
        let run = || {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { batcher.run(numbers(1, 1.0)).await })
        };
        let mut runs: Vec<_> = (0..callers).map(|_| run()).collect();
        settle().await;
        let next = |told: std::sync::mpsc::Receiver<&'static str>| async {
            let waiting = tokio::task::spawn_blocking(move || (told.recv_timeout(Duration::from_secs(30)), told));
            waiting.await.expect("no panic")
        };
        let (event, told) = next(told).await;
        assert_eq!(event, Ok("started"));
        let last = runs.pop().expect("a run");
        for run in runs {
            run.abort();
            assert!(run.await.is_err());
        }
        assert!(told.try_recv().is_err(), "one caller still waits");
        last.abort();
        assert!(last.await.is_err());
        assert_eq!(next(told).await.0, Ok("stopped"), "{callers} callers");
    }
}
