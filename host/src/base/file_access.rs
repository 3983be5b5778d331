//! A time limit for access to files that may never answer: on a stalled NFS or FUSE mount, or a file of the kernel that
//! waits for data.
//!
//! A call of the file system cannot be interrupted. So [`within_time`] makes it on a thread of its own, and stops waiting for
//! a thread that makes no progress. Such a thread stays blocked until its call returns. The number of these threads is
//! limited, and a path whose call is still blocked is refused, so it takes one thread however often it is tried. If
//! something on the path was replaced since then (`path_steps`), it may lead to a file system that answers, and is tried
//! again. The files by which the server is administrated have a share of these threads ([`with_own_share`]), so that plugins
//! on a stalled mount do not keep it from reading them. Many stalled files are waited for together ([`in_haste`]).

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_runtime::lack::Lack;

mod blocked;
mod no_answer;
mod progress;

use blocked::{Blocked, Share, check_blocked, lock};
use no_answer::{HASTE, NoAnswer};
use progress::Progress;

pub use no_answer::PATIENCE;

/// The time that every access may take. A larger file may take a second more for each [`SLOWEST`] bytes that were read.
const LEAST_TIME: Duration = Duration::from_secs(60);
/// The lowest rate in bytes per second at which a large file may be read.
const SLOWEST: u64 = 1 << 20;
/// The stack of a thread that makes calls of the file system. It also reads directories and computes digests.
const STACK: usize = 512 << 10;

thread_local! {
    static SHARE: Cell<Share> = const { Cell::new(Share::Common) };
    /// Whether an access of this scan has not answered; `None` outside of [`in_haste`].
    static HAS_STALLED: Cell<Option<bool>> = const { Cell::new(None) };
    /// The progress of the access that this thread makes; `None` on other threads.
    static PROGRESS: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// Sets a variable of this thread back when it is dropped, also after a panic.
struct Restored<T: Copy + 'static>(&'static std::thread::LocalKey<Cell<T>>, T);

impl<T: Copy> Drop for Restored<T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Makes the accesses of `work` with threads of their own share: those for the configuration, keys and certificates.
pub fn with_own_share<T>(work: impl FnOnce() -> T) -> T {
    let _restored = Restored(&SHARE, SHARE.replace(Share::Own));
    work()
}

/// Makes the accesses of `work`, which has many. After one of them has not answered, the others are waited for only shortly.
pub fn in_haste<T>(work: impl FnOnce() -> T) -> T {
    if HAS_STALLED.get().is_some() {
        return work();
    }
    let _restored = Restored(&HAS_STALLED, HAS_STALLED.replace(Some(false)));
    work()
}

/// The number of calls that do not return now.
pub fn blocked() -> usize {
    lock().len()
}

/// Makes calls of the file system for a path on another thread, and waits for them as long as they make progress. Calls
/// inside of such calls are made directly.
///
/// # Errors
/// The error of the calls, or one of the kind `TimedOut` if the file system does not answer, or an earlier access to
/// the path is still blocked.
pub fn within_time<T: Send + 'static>(
    path: &Path,
    calls: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if PROGRESS.with_borrow(Option::is_some) {
        return calls();
    }
    let patience = if HAS_STALLED.get() == Some(true) { HASTE } else { PATIENCE };
    limited(path, patience, LEAST_TIME, calls)
}

/// Notes that bytes were read.
///
/// # Errors
/// If nothing waits for them any more. Then the access should end.
pub fn note_progress(bytes: usize) -> io::Result<()> {
    PROGRESS.with_borrow(|progress| {
        let Some(progress) = progress else { return Ok(()) };
        progress.bytes.fetch_add(bytes as u64, Relaxed);
        if progress.is_abandoned.load(Relaxed) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    })
}

fn limited<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    least_time: Duration,
    calls: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let share = SHARE.get();
    let refusing = check_blocked(path, share)?;
    let call = Call::new();
    let (number, progress) = (call.0, Arc::new(Progress::default()));
    let (sender, receiver) = sync_channel(1);
    let (of_thread, followed) = (Arc::clone(&progress), path.to_owned());
    let thread = thread::Builder::new().name("files".to_owned()).stack_size(STACK).spawn(move || {
        // Dropped last, so that `number` is unblocked after the result was sent, and also after a panic.
        let _call = call;
        let result = match of_thread.follow(&followed, &refusing) {
            Ok(()) => {
                PROGRESS.set(Some(of_thread));
                calls()
            }
            Err(reason) => Err(reason.into()),
        };
        // The channel has room, and is closed if nothing waits any more.
        let _ = sender.send(result);
    });
    thread.map_err(|error| match error.kind() {
        kind @ io::ErrorKind::WouldBlock => io::Error::new(kind, format!("the host lacks {}", Lack::Threads)),
        _ => error,
    })?;
    let (started, mut seen, mut since) = (Instant::now(), 0, Instant::now());
    loop {
        match receiver.recv_timeout(patience.saturating_sub(since.elapsed())) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("reading it panicked; see the log")),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let bytes = progress.bytes.load(Relaxed);
        let elapsed = started.elapsed();
        let is_slow = elapsed >= least_time + Duration::from_secs(bytes / SLOWEST);
        if bytes != seen && !is_slow {
            (seen, since) = (bytes, Instant::now());
            continue;
        }
        // Under this lock the thread cannot end: either its result is here, or it will find its entry and remove it.
        let mut blocked = lock();
        if let Ok(result) = receiver.try_recv() {
            return result;
        }
        progress.is_abandoned.store(true, Relaxed);
        let (path, progress, is_silent) = (path.to_owned(), Arc::clone(&progress), bytes == seen);
        blocked.insert(number, Blocked { share, path, progress, is_silent });
        HAS_STALLED.set(HAS_STALLED.get().map(|_| true));
        let reason = match bytes != seen {
            true => NoAnswer::Slow { bytes, seconds: elapsed.as_secs() },
            false if patience == HASTE => NoAnswer::SilentInHaste,
            false => NoAnswer::Silent,
        };
        return Err(reason.into());
    }
}

/// A call that a thread makes.
struct Call(u64);

impl Call {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        lock().remove(&self.0);
    }
}

#[cfg(test)]
mod tests;
