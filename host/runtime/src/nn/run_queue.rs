//! Runs of one model that wait for a thread.
//!
//! A thread that has ended a run takes the next one itself. If it gave its permits back instead, a task would be woken for
//! them, and that task would wake another thread. On a machine whose cores are all busy, the operating system often puts that
//! thread behind another one, while the core that became free has nothing to do.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::RunError;

/// Computes, and returns what tells the caller.
type Run = Box<dyn FnOnce() -> Box<dyn FnOnce() + Send> + Send>;

/// The waiting runs of one model, in the order in which they came.
pub(super) struct RunQueue {
    waiting: Mutex<Waiting>,
    /// Bounds the runs of this model. Acquired before `backend_permits`, so that a run that waits for this model holds
    /// nothing that another model could use.
    model_permits: Arc<Semaphore>,
    /// Bounds the runs of the backend on the same device.
    backend_permits: Arc<Semaphore>,
    /// As many workers as can have permits. Further ones would only wait, before the runs of other models.
    max_workers: usize,
    /// Tells workers that wait for permits that the last run was removed.
    emptied: Notify,
}

#[derive(Default)]
struct Waiting {
    runs: VecDeque<(u64, Run)>,
    /// The permits of the backend of the runs that compute, by the numbers of the runs. If a caller is gone, others get its permit:
    /// its run goes on, on some engines for hours, and only the model itself waits for that.
    running: HashMap<u64, OwnedSemaphorePermit>,
    /// The number of the next run.
    next: u64,
    workers: usize,
}

/// The right to run the model once at a time.
struct Permits {
    model: OwnedSemaphorePermit,
    backend: OwnedSemaphorePermit,
}

impl RunQueue {
    /// A queue without runs. `model_permits` are all free. A backend has as many permits as the machine has cores.
    pub(super) fn new(model_permits: Arc<Semaphore>, backend_permits: Arc<Semaphore>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let max_workers = model_permits.available_permits().min(cores);
        Self { waiting: Mutex::default(), model_permits, backend_permits, max_workers, emptied: Notify::new() }
    }

    /// Calls `run` on a thread for blocking work, after the runs that were here before. If this future is dropped before
    /// that, it is never called. All callers must be in one tokio runtime: its end is the end of all waiting runs.
    ///
    /// # Errors
    /// If the function panics, or the server ends.
    pub(super) async fn run<R: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce() -> Result<R, RunError> + Send + 'static,
    ) -> Result<R, RunError> {
        let (sender, result) = oneshot::channel();
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(RunError::Panicked));
            // The caller may be gone.
            Box::new(move || drop(sender.send(result))) as Box<dyn FnOnce() + Send>
        };
        let (number, worker) = self.add(Box::new(run));
        let _remove = RemoveOnDrop(self, number);
        if let Some(worker) = worker {
            worker.start();
        }
        result.await.unwrap_or(Err(RunError::Ended))
    }

    /// Adds a run. Returns its number, and a worker if there is to be a further one.
    fn add(self: &Arc<Self>, run: Run) -> (u64, Option<Worker>) {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.runs.push_back((number, run));
        let starts = waiting.workers < self.max_workers;
        if starts {
            waiting.workers += 1;
        }
        (number, starts.then(|| Worker { queue: Arc::clone(self), has_ended: false }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The permits, if both are free.
    fn free_permits(&self) -> Option<Permits> {
        let model = Arc::clone(&self.model_permits).try_acquire_owned().ok()?;
        let backend = Arc::clone(&self.backend_permits).try_acquire_owned().ok()?;
        Some(Permits { model, backend })
    }
}

impl Permits {
    /// Gives the permits to others that wait for them. Returns them if nothing waits.
    fn renewed(self, queue: &RunQueue) -> Option<Self> {
        drop((self.model, self.backend));
        queue.free_permits()
    }
}

/// Runs what waits, on one thread at a time. Counted in [`Waiting::workers`] until it is dropped.
struct Worker {
    queue: Arc<RunQueue>,
    /// False unless it found nothing to run.
    has_ended: bool,
}

impl Worker {
    /// Starts it now, or as soon as it gets its permits.
    fn start(mut self) {
        if let Some(permits) = self.queue.free_permits() {
            tokio::task::spawn_blocking(move || self.work(permits));
        } else {
            tokio::spawn(async move {
                if let Some(permits) = self.permits().await {
                    tokio::task::spawn_blocking(move || self.work(permits));
                }
            });
        }
    }

    /// Waits for the permits. `None` if nothing waits for a run any more; then it holds none, and has ended.
    async fn permits(&mut self) -> Option<Permits> {
        let queue = Arc::clone(&self.queue);
        let model = self.unless_empty(acquire(Arc::clone(&queue.model_permits))).await?;
        let backend = self.unless_empty(acquire(Arc::clone(&queue.backend_permits))).await?;
        (!self.ends_if_empty()).then_some(Permits { model, backend })
    }

    async fn unless_empty<P>(&mut self, permit: impl Future<Output = P>) -> Option<P> {
        let (queue, mut permit) = (Arc::clone(&self.queue), pin!(permit));
        loop {
            let mut emptied = pin!(queue.emptied.notified());
            // Before the look at the queue, so that no removal after it is missed.
            emptied.as_mut().enable();
            if self.ends_if_empty() {
                return None;
            }
            tokio::select! {
                permit = &mut permit => return Some(permit),
                () = emptied => {}
            }
        }
    }

    /// Ends this worker if nothing waits for a run.
    fn ends_if_empty(&mut self) -> bool {
        let mut waiting = self.queue.waiting();
        if waiting.runs.is_empty() {
            waiting.workers -= 1;
            self.has_ended = true;
        }
        self.has_ended
    }

    /// Runs what waits, until nothing waits or another run needs the permits.
    fn work(mut self, permits: Permits) {
        let mut next = self.next(permits);
        while let Some((number, run, model)) = next {
            let tell = run();
            // Another run has it if the caller is gone.
            let backend = self.queue.waiting().running.remove(&number);
            let Some(permits) = backend.and_then(|backend| Permits { model, backend }.renewed(&self.queue)) else {
                self.start();
                return tell();
            };
            next = self.next(permits);
            tell();
        }
    }

    /// The next run, with the permit of the model. If there is none, this worker has ended.
    fn next(&mut self, permits: Permits) -> Option<(u64, Run, OwnedSemaphorePermit)> {
        let mut waiting = self.queue.waiting();
        let Some((number, run)) = waiting.runs.pop_front() else {
            waiting.workers -= 1;
            self.has_ended = true;
            drop(waiting);
            return None;
        };
        waiting.running.insert(number, permits.backend);
        Some((number, run, permits.model))
    }
}

impl Drop for Worker {
    /// A runtime that ends drops workers that have not ended. Without a worker nothing would answer the runs.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut waiting = self.queue.waiting();
        waiting.workers -= 1;
        let runs = if waiting.workers == 0 { std::mem::take(&mut waiting.runs) } else { VecDeque::new() };
        drop(waiting);
        drop(runs);
    }
}

/// Removes a run whose caller is gone, with its inputs. If it computes already, others get its permit of the backend.
struct RemoveOnDrop<'a>(&'a RunQueue, u64);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        let permit = waiting.running.remove(&self.1);
        if permit.is_some() {
            drop(waiting);
            return;
        }
        let Ok(index) = waiting.runs.binary_search_by_key(&self.1, |(number, _)| *number) else { return };
        let run = waiting.runs.remove(index);
        let is_empty = waiting.runs.is_empty();
        drop(waiting);
        drop(run);
        if is_empty {
            self.0.emptied.notify_waiters();
        }
    }
}

/// Waits for a permit.
#[expect(clippy::expect_used, reason = "the semaphore is never closed")]
pub(super) async fn acquire(permits: Arc<Semaphore>) -> OwnedSemaphorePermit {
    permits.acquire_owned().await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests;
