use std::sync::Mutex;
use std::sync::mpsc;
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::*;

type Answer = Result<u32, RunError>;

/// A queue of a model and a backend with this many permits, and the permits.
fn queue(model: usize, backend: &Arc<Semaphore>) -> (Arc<RunQueue>, Arc<Semaphore>) {
    let model = Arc::new(Semaphore::new(model));
    (Arc::new(RunQueue::new(Arc::clone(&model), Arc::clone(backend))), model)
}

/// One thread, so that all tasks that are ready run while the test yields.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Lets all tasks go on until they wait.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Which runs were called, in order, and by which thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(u32, ThreadId)>>>);

impl Log {
    fn run(&self, number: u32) -> impl FnOnce() -> Answer + Send + 'static {
        let this = self.clone();
        move || {
            this.0.lock().expect("no panic").push((number, std::thread::current().id()));
            Ok(number)
        }
    }

    fn numbers(&self) -> Vec<u32> {
        self.0.lock().expect("no panic").iter().map(|(number, _)| *number).collect()
    }
}

/// Adds a run, and waits until it is in the queue.
async fn added(queue: &Arc<RunQueue>, run: impl FnOnce() -> Answer + Send + 'static) -> JoinHandle<Answer> {
    let before = queue.waiting().next;
    let (this, handle) = (Arc::clone(queue), tokio::runtime::Handle::current());
    let added = handle.spawn(async move { this.run(run).await });
    while queue.waiting().next == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    added
}

/// A run that waits until the sender is dropped, and its start.
fn gate() -> (impl FnOnce() -> Answer + Send + 'static, mpsc::Sender<()>, oneshot::Receiver<()>) {
    let (open, closed) = mpsc::channel::<()>();
    let (begins, begun) = oneshot::channel();
    let run = move || {
        let _ = begins.send(());
        let _ = closed.recv();
        Ok(0)
    };
    (run, open, begun)
}

/// A run that has begun, and lasts until the sender is dropped.
async fn held(queue: &Arc<RunQueue>) -> (JoinHandle<Answer>, mpsc::Sender<()>) {
    let (run, open, begun) = gate();
    let run = added(queue, run).await;
    begun.await.expect("it began");
    (run, open)
}

#[test]
fn a_thread_takes_the_next_run_itself_in_the_order_of_arrival() {
    runtime().block_on(async {
        let (queue, permits) = queue(1, &Arc::new(Semaphore::new(1)));
        let (first, open) = held(&queue).await;
        let log = Log::default();
        let mut waiting = Vec::new();
        for number in 1..=20 {
            waiting.push(added(&queue, log.run(number)).await);
        }
        assert_eq!(permits.available_permits(), 0);
        drop(open);
        assert_eq!(first.await.expect("no panic").expect("a result"), 0);
        for (run, number) in waiting.into_iter().zip(1..) {
            assert_eq!(run.await.expect("no panic").expect("a result"), number);
        }
        assert_eq!(log.numbers(), (1..=20).collect::<Vec<_>>());
        let threads = log.0.lock().expect("no panic");
        assert!(threads.iter().all(|(_, thread)| *thread == threads[0].1), "{threads:?}");
        assert_eq!(queue.waiting().workers, 0);
        assert_eq!(permits.available_permits(), 1, "free before the last caller goes on");
    });
}

#[test]
fn a_model_has_as_many_runs_at_once_as_permits() {
    runtime().block_on(async {
        let (queue, _) = queue(2, &Arc::new(Semaphore::new(8)));
        let at_once = available_parallelism().map_or(1, usize::from).min(2);
        let (mut runs, mut gates) = (Vec::new(), Vec::new());
        for _ in 0..at_once {
            let (run, gate) = held(&queue).await;
            runs.push(run);
            gates.push(gate);
        }
        let (run, gate, mut begun) = gate();
        runs.push(added(&queue, run).await);
        settle().await;
        assert!(begun.try_recv().is_err(), "it began beside {at_once} others");
        drop((gates, gate));
        for run in runs {
            run.await.expect("no panic").expect("a result");
        }
        begun.await.expect("it began");
    });
}

#[test]
fn other_models_and_short_runs_get_their_turns() {
    runtime().block_on(async {
        let backend = Arc::new(Semaphore::new(1));
        let ((queue, permits), (other, _)) = (queue(1, &backend), queue(1, &backend));
        let (first, open) = held(&queue).await;
        let mut runs = vec![first];
        let log = Log::default();
        for number in 1..=50 {
            runs.push(added(&queue, log.run(number)).await);
        }
        runs.push(added(&other, log.run(100)).await);
        // A short run of the same model needs a permit of the model only.
        let short = tokio::spawn({
            let log = log.clone();
            async move {
                let _permit = acquire(permits).await;
                log.run(200)()
            }
        });
        settle().await;
        drop(open);
        for run in runs.into_iter().chain([short]) {
            run.await.expect("no panic").expect("a result");
        }
        let numbers = log.numbers();
        let place = |number| numbers.iter().position(|other| *other == number).expect("it was called");
        assert!(place(100) <= 2 && place(200) <= 2, "{numbers:?}");
    });
}

#[test]
fn a_model_without_a_limit_of_its_own_waits_as_few_times_as_there_are_cores() {
    runtime().block_on(async {
        let cores = available_parallelism().expect("known").get();
        let backend = Arc::new(Semaphore::new(1));
        let ((queue, _), (other, _)) = (queue(Semaphore::MAX_PERMITS, &backend), queue(1, &backend));
        let (first, open) = held(&queue).await;
        let mut runs = vec![first];
        let log = Log::default();
        for number in 1..=50 {
            runs.push(added(&queue, log.run(number)).await);
        }
        assert_eq!(queue.waiting().workers, cores.min(51));
        runs.push(added(&other, log.run(100)).await);
        settle().await;
        drop(open);
        for run in runs {
            run.await.expect("no panic").expect("a result");
        }
        let numbers = log.numbers();
        let place = numbers.iter().position(|number| *number == 100).expect("it was called");
        assert!(place <= cores + 1, "{numbers:?}");
        // The last worker tells its caller before the others find nothing.
        while queue.waiting().workers > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_run_whose_caller_is_gone_is_dropped_with_its_inputs() {
    runtime().block_on(async {
        let (queue, _) = queue(1, &Arc::new(Semaphore::new(1)));
        let (first, open) = held(&queue).await;
        let inputs = Arc::new(());
        let held = Arc::clone(&inputs);
        let log = Log::default();
        let gone = added(&queue, move || {
            let _held = held;
            panic!("its caller is gone")
        })
        .await;
        let next = added(&queue, log.run(1)).await;
        gone.abort();
        assert!(gone.await.expect_err("it was aborted").is_cancelled());
        assert_eq!(Arc::strong_count(&inputs), 1);
        drop(open);
        first.await.expect("no panic").expect("a result");
        assert_eq!(next.await.expect("no panic").expect("a result"), 1);
    });
}

#[test]
fn a_panic_ends_one_run_only() {
    runtime().block_on(async {
        let (queue, permits) = queue(1, &Arc::new(Semaphore::new(1)));
        let broken: Answer = queue.run(|| panic!("a fault of a library")).await;
        assert!(matches!(broken, Err(RunError::Panicked)), "{broken:?}");
        assert_eq!(queue.run(|| Ok(1)).await.expect("a result"), 1);
        assert_eq!((queue.waiting().workers, permits.available_permits()), (0, 1));
    });
}

#[test]
fn runs_are_answered_when_the_server_ends() {
    let ends = Runtime::new().expect("a runtime");
    let (queue, permits) = queue(1, &Arc::new(Semaphore::new(1)));
    let held = permits.try_acquire_owned().expect("free");
    runtime().block_on(async {
        // The worker waits for its permits in the runtime that ends.
        let mut answer = Box::pin(queue.run(|| Ok(1)));
        std::future::poll_fn(|context| {
            let _entered = ends.enter();
            assert!(answer.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(queue.waiting().workers, 1);
        ends.shutdown_background();
        let answer = answer.await;
        assert!(matches!(answer, Err(RunError::Ended)), "{answer:?}");
        assert!(queue.waiting().runs.is_empty() && queue.waiting().workers == 0);
    });
    drop(held);
}

#[test]
fn a_worker_whose_runs_are_gone_gives_its_permit_back() {
    runtime().block_on(async {
        let backend = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&backend).try_acquire_owned().expect("free");
        let (queue, permits) = queue(1, &backend);
        let waiting = added(&queue, || Ok(1)).await;
        settle().await;
        assert_eq!((permits.available_permits(), queue.waiting().workers), (0, 1), "it waits for the backend");
        waiting.abort();
        assert!(waiting.await.expect_err("it was aborted").is_cancelled());
        settle().await;
        assert_eq!((permits.available_permits(), queue.waiting().workers), (1, 0));
        drop(held);
        assert_eq!(queue.run(|| Ok(2)).await.expect("a result"), 2);
    });
}

/// A run that has no end must not keep the models of others from running.
#[test]
fn a_run_whose_caller_is_gone_leaves_its_core_to_other_models() {
    runtime().block_on(async {
        let backend = Arc::new(Semaphore::new(1));
        let ((endless, _), (other, _)) = (queue(1, &backend), queue(1, &backend));
        let (caller, open) = held(&endless).await;
        let log = Log::default();
        let waiting = added(&other, log.run(1)).await;
        settle().await;
        assert!(log.numbers().is_empty(), "the backend has one permit");
        caller.abort();
        assert_eq!(waiting.await.expect("no panic"), Ok(1));
        // The model itself waits for its run.
        let next = added(&endless, log.run(2)).await;
        settle().await;
        assert_eq!(log.numbers(), [1]);
        assert_eq!(other.run(log.run(3)).await, Ok(3));
        drop(open);
        assert_eq!(next.await.expect("no panic"), Ok(2));
        assert_eq!(backend.available_permits(), 1);
    });
}
