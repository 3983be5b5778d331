//! Work that would keep an async worker from other requests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plimsoll_runtime::text::grouped;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Work on at least this many bytes leaves the async workers. Less work takes tens of microseconds, which is no longer
/// than a switch to another thread.
pub(in crate::serve) const LARGE: usize = 128 << 10;

/// How long work waits for a thread. If the process may start no more threads (`ulimit -u`, the limit `pids` of a
/// container), it would wait for ever.
const WAIT: Duration = Duration::from_secs(5);

/// Runs work on `bytes` bytes: on a thread for blocking work if they are many, otherwise on this thread. If there is no
/// such thread in time, the work runs on this thread.
///
/// # Panics
/// If the work panics, or if the runtime shuts down before the work starts.
pub(in crate::serve) async fn run<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes < LARGE {
        return work();
    }
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let shared = Arc::clone(&work);
    let mut running = tokio::task::spawn_blocking(move || take(&shared).map(|work| work()));
    let done = match tokio::time::timeout(WAIT, &mut running).await {
        Ok(done) => done,
        Err(_elapsed) => match take(&work) {
            Some(work) => return work(),
            None => running.await,
        },
    };
    match done {
        Ok(Some(done)) => done,
        Ok(None) => unreachable!("the work was taken by this function, which has returned"),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("work on {} bytes was cancelled: {error}", grouped(bytes as u64)),
    }
}

/// As [`run`], for callers that are not async: the other tasks of this worker move to another thread.
pub(in crate::serve) fn run_in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let can_move = || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= LARGE && can_move() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// As if the process could start no more threads.
    #[test]
    fn work_that_finds_no_thread_is_done_nevertheless() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_time().build();
        let runtime = runtime.expect("a runtime");
        let (release, released) = mpsc::channel::<()>();
        let busy = runtime.spawn_blocking(move || released.recv());
        assert_eq!(runtime.block_on(run(LARGE, || 7)), 7);
        drop(release);
        assert!(runtime.block_on(busy).is_ok());
    }
}
