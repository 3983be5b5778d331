//! Work that would keep an async worker from other requests.

use plimsoll_runtime::text::grouped;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Work on at least this many bytes leaves the async workers. Less work takes tens of microseconds, which is no longer
/// than a switch to another thread.
pub(in crate::serve) const LARGE: usize = 128 << 10;

/// Runs work on `bytes` bytes: on a thread for blocking work if they are many, otherwise on this thread.
///
/// # Panics
/// If the work panics, or if the runtime shuts down before the work starts.
pub(in crate::serve) async fn run<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes < LARGE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("work on {} bytes was cancelled: {error}", grouped(bytes as u64)),
    }
}

/// As [`run`], for callers that are not async: the other tasks of this worker move to another thread.
pub(in crate::serve) fn run_in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let can_move = || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= LARGE && can_move() { tokio::task::block_in_place(work) } else { work() }
}
