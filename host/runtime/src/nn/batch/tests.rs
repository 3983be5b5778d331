//! Batches of models that compute with functions of the tests.

mod flow;
mod padding_tests;
mod scale_tests;
mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::*;
use support::{Counts, TestModel, admitted, batcher, first, numbers, observed_batcher, settle};

#[tokio::test]
async fn runs_that_wait_at_the_same_time_share_a_batch_and_get_their_own_rows() {
    let (model, gate, batcher) = batcher(8);
    let runs: Vec<_> = (1..=4u8)
        .map(|n| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { first(batcher.run(numbers(n.into(), n.into()), None).await) })
        })
        .collect();
    settle().await;
    gate.add_permits(2);
    for (n, run) in (1..=4u8).zip(runs) {
        assert_eq!(run.await.expect("no panic"), Ok((vec![n.into(), 2], 2.0 * f32::from(n))));
    }
    let runs = model.runs();
    assert_eq!((runs.len(), runs.iter().sum::<u32>()), (2, 10), "at most 8 rows at once: {runs:?}");
}

#[tokio::test]
async fn an_error_reaches_only_the_run_that_caused_it() {
    let (model, gate, batcher) = batcher(8);
    let runs: Vec<_> = [1.0, -1.0, 3.0, f32::INFINITY]
        .map(|value| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { first(batcher.run(numbers(1, value), None).await) })
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
    assert_eq!(model.runs(), [4, 1, 1, 1, 1], "together, then each alone");
}

#[tokio::test]
async fn a_disconnected_caller_is_removed_from_the_batch() {
    let (model, gate, batcher) = batcher(8);
    let gone = tokio::spawn({
        let batcher = Arc::clone(&batcher);
        async move { batcher.run(numbers(5, 1.0), None).await }
    });
    let stays = tokio::spawn(async move { first(batcher.run(numbers(1, 2.0), None).await) });
    settle().await;
    gone.abort();
    settle().await;
    gate.add_permits(1);
    assert_eq!(stays.await.expect("no panic"), Ok((vec![1, 2], 4.0)));
    assert_eq!(model.runs(), [1]);
}

#[tokio::test]
async fn batches_are_formed_after_a_panic_which_is_reported() {
    let observer = Arc::new(Counts { first_batch_panics: true, ..Counts::default() });
    let (_, gate, batcher) = observed_batcher(8, observer.clone());
    gate.add_permits(2);
    assert_eq!(batcher.run(numbers(1, 1.0), None).await.err(), Some(RunError::Ended));
    assert_eq!(first(batcher.run(numbers(1, 2.0), None).await), Ok((vec![1, 2], 4.0)));
    assert_eq!(observer.panics.load(Relaxed), 1);
}

/// A model whose runs last until they are stopped. It tells when a run starts and when it is stopped.
fn until_stopped(events: std::sync::mpsc::Sender<&'static str>) -> TestModel {
    TestModel::new(move |_, cancellation| {
        let tell = |event| events.send(event).expect("the test listens");
        let (stop, stopped) = std::sync::mpsc::channel();
        tell("started");
        cancellation.during(move || stop.send(()).unwrap_or_default(), || stopped.recv()).expect("stopped");
        tell("stopped");
        Err(RunError::Cancelled)
    })
}

/// A batch continues while one of its callers waits, and ends when the last one is gone.
#[tokio::test]
async fn a_batch_without_callers_is_stopped() {
    for callers in [1_u32, 3] {
        let (events, told) = std::sync::mpsc::channel();
        let model: Arc<dyn Model> = Arc::new(until_stopped(events));
        let rules = BatchRules { max_batch: callers, max_delay: Duration::from_mins(1) };
        let permits = || async { Box::new(()) as HeldPermits };
        let batcher = Batcher::start(admitted(model), rules, Arc::new(Counts::default()), permits);
        let batcher = Arc::new(batcher);
        let run = || {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { batcher.run(numbers(1, 1.0), None).await })
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
