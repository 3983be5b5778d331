//! When batches end their admission, with a device whose runs end when the test says so.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::support::{Counts, TestModel, batcher, first, numbers, settle};
use crate::nn::batch::open::MOST_OVERTAKEN;
use crate::nn::batch::{Admitted, BatchRules, BatchSizes, Batcher, HeldPermits, RunCost};
use crate::nn::error::RunError;
use crate::tensor::{Tensor, TensorType};

/// A device and its batches of at most 4 rows. The device tells the rows of each run when it starts, and ends one run for
/// each message of the gate.
struct Bench {
    batcher: Arc<Batcher>,
    started: Option<Receiver<u32>>,
    gate: Sender<()>,
    /// The numbers of every run.
    inputs: Arc<Mutex<Vec<Vec<f32>>>>,
    counts: Arc<Counts>,
}

impl Bench {
    fn new(overlaps: bool, sizes: Option<BatchSizes>) -> Self {
        let ((started_sender, started), (gate, gate_receiver)) = (channel(), channel());
        let gate_receiver = Mutex::new(gate_receiver);
        let inputs: Arc<Mutex<Vec<Vec<f32>>>> = Arc::default();
        let seen = Arc::clone(&inputs);
        let mut model = TestModel::new(move |inputs, _| {
            seen.lock().expect("whole").push(bytemuck::cast_slice(&inputs[0].data).to_vec());
            started_sender.send(inputs[0].dimensions[0]).expect("the test listens");
            gate_receiver.lock().expect("whole").recv().expect("the test lets it end");
            Ok(vec![("y".into(), inputs[0].clone())])
        });
        model.properties.concurrent_runs = 2;
        model.properties.overlaps_runs = overlaps;
        let counts = Arc::new(Counts::default());
        let rules = BatchRules { max_batch: 4, max_delay: Duration::ZERO };
        let admitted = Admitted { model: Arc::new(model), sizes, cost: RunCost::default() };
        let permits = || async { Box::new(()) as HeldPermits };
        let batcher = Arc::new(Batcher::start(admitted, rules, counts.clone(), permits));
        Self { batcher, started: Some(started), gate, inputs, counts }
    }

    fn run(&self, rows: u32, value: f32) -> JoinHandle<Result<(Vec<u32>, f32), RunError>> {
        let batcher = Arc::clone(&self.batcher);
        tokio::spawn(async move { first(batcher.run(numbers(rows, value), None).await) })
    }

    /// The rows of the next run that starts; `None` if none starts.
    async fn next_start(&mut self, wait: Duration) -> Option<u32> {
        let started = self.started.take().expect("not in use");
        let waiting = tokio::task::spawn_blocking(move || (started.recv_timeout(wait), started));
        let (rows, started) = waiting.await.expect("no panic");
        self.started = Some(started);
        assert_ne!(rows, Err(RecvTimeoutError::Disconnected));
        rows.ok()
    }

    async fn started(&mut self) -> u32 {
        self.next_start(Duration::from_secs(30)).await.expect("a run starts")
    }

    async fn nothing_starts(&mut self) {
        settle().await;
        assert_eq!(self.next_start(Duration::from_millis(50)).await, None);
    }

    /// Lets a run end.
    fn end(&self) {
        self.gate.send(()).expect("the device waits");
    }
}

#[tokio::test]
async fn runs_that_arrive_while_a_device_computes_share_the_next_batch() {
    let mut bench = Bench::new(false, None);
    let first = bench.run(1, 1.0);
    assert_eq!(bench.started().await, 1);
    let second = bench.run(1, 2.0);
    // The device would only let it wait, and the third run could not join it.
    bench.nothing_starts().await;
    let third = bench.run(1, 3.0);
    bench.nothing_starts().await;
    bench.end();
    assert_eq!(bench.started().await, 2);
    bench.end();
    for (run, value) in [(first, 1.0), (second, 2.0), (third, 3.0)] {
        assert_eq!(run.await.expect("no panic"), Ok((vec![1, 2], value)));
    }
}

#[tokio::test]
async fn a_full_batch_is_sent_while_the_device_computes() {
    let mut bench = Bench::new(false, None);
    let busy = bench.run(1, 1.0);
    assert_eq!(bench.started().await, 1);
    let more: Vec<_> = (0..4u8).map(|n| bench.run(1, n.into())).collect();
    assert_eq!(bench.started().await, 4, "full, so it waits at the device");
    let last = bench.run(3, 9.0);
    bench.nothing_starts().await;
    // A run that finds no room makes the batch as full as it gets.
    let apart = bench.run(2, 8.0);
    assert_eq!(bench.started().await, 3);
    bench.nothing_starts().await;
    bench.end();
    bench.nothing_starts().await;
    (0..2).for_each(|_| bench.end());
    assert_eq!(bench.started().await, 2, "the device is free");
    bench.end();
    for run in more.into_iter().chain([busy, last, apart]) {
        run.await.expect("no panic").expect("an answer");
    }
}

/// Callers with one shape keep the device busy, and another caller's run has a shape of its own.
#[tokio::test]
async fn a_run_of_a_rare_shape_is_not_overtaken_for_ever() {
    let mut bench = Bench::new(false, None);
    let mut runs = vec![bench.run(1, 0.0)];
    assert_eq!(bench.started().await, 1);
    let (batcher, input) = (Arc::clone(&bench.batcher), Tensor::new(vec![1, 3], TensorType::Fp32, vec![0; 12]));
    let rare = tokio::spawn(async move { batcher.run(vec![input], None).await });
    settle().await;
    for turn in 1..=MOST_OVERTAKEN {
        bench.nothing_starts().await;
        runs.extend((0..4u8).map(|n| bench.run(1, n.into())));
        let mut started = vec![bench.started().await];
        if turn == MOST_OVERTAKEN {
            // They start on two threads.
            started.push(bench.started().await);
            started.sort_unstable();
        }
        let expected = if turn < MOST_OVERTAKEN { vec![4] } else { vec![1, 4] };
        assert_eq!(started, expected, "{turn}");
    }
    (0..MOST_OVERTAKEN + 2).for_each(|_| bench.end());
    rare.await.expect("no panic").expect("an answer");
    for run in runs {
        run.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test]
async fn runs_that_compute_at_the_same_time_do_not_wait_for_each_other() {
    let mut bench = Bench::new(true, None);
    let runs = [bench.run(1, 1.0), bench.run(1, 2.0)];
    assert_eq!(bench.started().await, 2);
    let more = bench.run(1, 3.0);
    assert_eq!(bench.started().await, 1);
    (0..2).for_each(|_| bench.end());
    for run in runs.into_iter().chain([more]) {
        run.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test]
async fn a_batch_is_padded_in_its_buffer_without_the_rows_of_callers_that_left() {
    let mut bench = Bench::new(false, Some(BatchSizes::new(vec![1, 4], 4).expect("valid")));
    let busy = bench.run(1, 0.0);
    assert_eq!(bench.started().await, 1);
    let stay = bench.run(1, 5.0);
    let gone = bench.run(1, 6.0);
    let last = bench.run(1, 7.0);
    settle().await;
    gone.abort();
    assert!(gone.await.is_err());
    bench.end();
    assert_eq!(bench.started().await, 4);
    bench.end();
    let last_input = bench.inputs.lock().expect("whole").last().cloned().expect("a run");
    assert_eq!(last_input, [5.0, 5.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]);
    assert_eq!(bench.counts.padded.load(Relaxed), 2);
    for (run, value) in [(busy, 0.0), (stay, 5.0), (last, 7.0)] {
        assert_eq!(run.await.expect("no panic"), Ok((vec![1, 2], value)), "only its own row");
    }
}

#[tokio::test]
async fn outputs_are_views_of_one_buffer() {
    let (_, gate, batcher) = batcher(8);
    let runs: Vec<_> = (1..=3u8)
        .map(|n| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { batcher.run(numbers(n.into(), n.into()), None).await })
        })
        .collect();
    settle().await;
    gate.add_permits(1);
    let mut end = None;
    for run in runs {
        let (_, output) = run.await.expect("no panic").expect("an answer").remove(0);
        let range = output.data.as_ptr_range();
        assert!(end.is_none_or(|end| end == range.start), "it follows the rows before it");
        end = Some(range.end);
    }
}
