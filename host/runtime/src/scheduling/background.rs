//! Runs in the background: nobody waits for their answer, so they compute only while no other run wants the cores.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The niceness of background threads: the lowest priority that still gets some time on a machine that is never idle.
const NICENESS: i32 = 10;

/// How often a run in the background asks for a permit: about an epoch tick.
const TICK: Duration = Duration::from_millis(2);

/// How urgent a run is.
#[derive(Debug, Clone, Default)]
pub enum Priority {
    /// A caller waits for it.
    #[default]
    Normal,
    /// Nobody waits for it. It takes a permit only if one is free and no other run waits for it.
    Background(BackgroundRun),
}

/// A run in the background. Clones belong to the same run.
#[derive(Clone)]
pub struct BackgroundRun(Arc<State>);

struct State {
    /// The microseconds that the run has waited for permits.
    waited: AtomicU64,
    _held: Box<dyn Any + Send + Sync>,
}

impl BackgroundRun {
    /// A run that has not begun. `held` is dropped when the run has really ended: a model run that cannot be stopped keeps
    /// it until its thread ends.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(State { waited: AtomicU64::new(0), _held: Box::new(held) }))
    }

    /// How long the run has waited for permits that other runs had.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.0.waited.load(Relaxed))
    }

    /// Takes a permit as soon as one is free and no other run waits for it. A run that waits in the line of the semaphore
    /// would be served in its turn, so this asks again at every tick.
    pub(crate) async fn acquire_idle(&self, permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
                return permit;
            }
            let since = Instant::now();
            tokio::time::sleep(TICK).await;
            let waited = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.0.waited.fetch_add(waited, Relaxed);
        }
    }
}

impl fmt::Debug for BackgroundRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackgroundRun(waited {:?})", self.waited())
    }
}

thread_local! {
    static IS_LOW_PRIORITY: Cell<bool> = const { Cell::new(false) };
}

/// Returns true on a thread of [`run_at_low_priority`].
pub(crate) fn is_low_priority() -> bool {
    IS_LOW_PRIORITY.get()
}

/// Runs a function on a thread of its own, at a low priority. Returns `None` if it panicked.
///
/// # Errors
/// If the machine cannot start a thread.
pub async fn run_at_low_priority<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<Option<R>> {
    let (sender, result) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // On Linux each thread has its own niceness. If the system refuses it, the thread has the usual priority.
        let _ = rustix::process::nice(NICENESS);
        IS_LOW_PRIORITY.set(true);
        // If nothing waits for the result any more, it is dropped.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)).ok());
    })?;
    Ok(result.await.unwrap_or(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_background_run_takes_a_permit_only_after_the_runs_that_wait() {
        let permits = Arc::new(Semaphore::new(1));
        let first = Arc::clone(&permits).acquire_owned().await.expect("open");
        let run = BackgroundRun::new(());
        let background = tokio::spawn({
            let (run, permits) = (run.clone(), Arc::clone(&permits));
            async move { run.acquire_idle(&permits).await }
        });
        tokio::time::sleep(4 * TICK).await;
        // It came later than the run in the background, and is served first.
        let waiting = tokio::spawn(Arc::clone(&permits).acquire_owned());
        tokio::time::sleep(TICK).await;
        drop(first);
        let second = waiting.await.expect("no panic").expect("open");
        tokio::time::sleep(4 * TICK).await;
        assert!(!background.is_finished());
        drop(second);
        drop(background.await.expect("no panic"));
        assert!(run.waited() >= 8 * TICK, "{run:?}");
    }

    #[tokio::test]
    async fn what_a_run_holds_is_dropped_with_its_last_clone() {
        let held = Arc::new(());
        let run = BackgroundRun::new(Arc::clone(&held));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let kept = run.clone();
        let thread = tokio::spawn(run_at_low_priority("test", move || {
            let _kept = kept;
            released.recv()
        }));
        drop(run);
        tokio::time::sleep(TICK).await;
        assert_eq!(Arc::strong_count(&held), 2, "the thread runs");
        release.send(()).expect("it waits");
        assert!(thread.await.expect("no panic").expect("a thread").is_some());
        assert_eq!(Arc::strong_count(&held), 1);
        let panicked = run_at_low_priority("test", || panic!("as requested")).await.expect("a thread");
        assert_eq!(panicked, None::<()>);
    }
}
