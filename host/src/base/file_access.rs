//! A time limit for access to files that may never answer: on a stalled NFS or FUSE mount, or a file of the kernel that
//! waits for data.
//!
//! A call of the file system cannot be interrupted. So [`within_time`] makes it on a thread of its own, and stops waiting for
//! a thread that makes no progress. Such a thread stays blocked until its call returns. The number of these threads is
//! limited, and a path whose call is still blocked is refused, so it takes one thread however often it is tried. If
//! something on the path was replaced since then (`path_steps`), it may lead to a file system that answers, and is tried
//! again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::path_steps::{self, Step};

/// How long a call may make no progress.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The time that every access may take. A larger file may take a second more for each [`SLOWEST`] bytes that were read.
const LEAST_TIME: Duration = Duration::from_secs(60);
/// The lowest rate in bytes per second at which a large file may be read.
const SLOWEST: u64 = 1 << 20;
/// Maximum number of threads whose calls do not return.
const MAX_BLOCKED: usize = 16;
/// The same for one path, however often something on it is replaced.
const MAX_OF_ONE_PATH: usize = 4;
/// The stack of a thread that makes calls of the file system. It also reads directories and computes digests.
const STACK: usize = 512 << 10;

/// The calls that do not return, by the number of the call.
static BLOCKED: Mutex<BTreeMap<u64, Blocked>> = Mutex::new(BTreeMap::new());

/// A call that does not return.
struct Blocked {
    path: PathBuf,
    progress: Arc<Progress>,
}

thread_local! {
    /// The progress of the access that this thread makes; `None` on other threads.
    static PROGRESS: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// The progress of one access.
#[derive(Debug, Default)]
struct Progress {
    bytes: AtomicU64,
    /// True if nothing waits for the result any more.
    is_abandoned: AtomicBool,
    /// The steps of the path that were found.
    steps: Mutex<Vec<Step>>,
}

/// Why a path was not accessed, or why the access took too long.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(
        "the file system has not answered for {} s; check its mount (NFS, FUSE), or what the file is a link to",
        PATIENCE.as_secs()
    )]
    Silent,
    #[error("it is read too slowly: {bytes} bytes in {seconds} s; check its mount (NFS, FUSE)")]
    Slow { bytes: u64, seconds: u64 },
    #[error("an earlier access to it is still blocked in the file system; check its mount (NFS, FUSE)")]
    StillBlocked,
    #[error(
        "it is not read, because {MAX_BLOCKED} accesses to other files are blocked in the file system, one of them to {}; \
         check their mounts (NFS, FUSE)",
        .0.display()
    )]
    TooMany(PathBuf),
}

impl From<NoAnswer> for io::Error {
    fn from(reason: NoAnswer) -> Self {
        Self::new(io::ErrorKind::TimedOut, reason)
    }
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
    limited(path, PATIENCE, LEAST_TIME, calls)
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
    let earlier = check_blocked(path)?;
    let call = Call::new();
    let (number, progress) = (call.0, Arc::new(Progress::default()));
    let (sender, receiver) = sync_channel(1);
    let (of_thread, followed) = (Arc::clone(&progress), path.to_owned());
    thread::Builder::new().name("files".to_owned()).stack_size(STACK).spawn(move || {
        // Dropped last, so that `number` is unblocked after the result was sent, and also after a panic.
        let _call = call;
        let result = match of_thread.leads_elsewhere(&followed, &earlier) {
            true => {
                PROGRESS.set(Some(of_thread));
                calls()
            }
            false => Err(NoAnswer::StillBlocked.into()),
        };
        // The channel has room, and is closed if nothing waits any more.
        let _ = sender.send(result);
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
        blocked.insert(number, Blocked { path: path.to_owned(), progress: Arc::clone(&progress) });
        let reason = match bytes != seen {
            true => NoAnswer::Slow { bytes, seconds: elapsed.as_secs() },
            false => NoAnswer::Silent,
        };
        return Err(reason.into());
    }
}

impl Progress {
    /// Notes the steps of the path. Returns false, and goes no further, where another access with the same steps is blocked.
    fn leads_elsewhere(&self, path: &Path, blocked: &[Arc<Self>]) -> bool {
        let is_elsewhere = || {
            let steps = self.steps();
            blocked.iter().all(|other| *other.steps() != *steps)
        };
        is_elsewhere()
            && path_steps::follow(path, |step| {
                self.steps().push(step);
                is_elsewhere()
            })
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Returns the blocked accesses to the same path.
fn check_blocked(path: &Path) -> Result<Vec<Arc<Progress>>, NoAnswer> {
    let blocked = lock();
    let same: Vec<_> =
        blocked.values().filter(|other| other.path == path).map(|other| Arc::clone(&other.progress)).collect();
    let is_full = blocked.len() >= MAX_BLOCKED;
    match blocked.values().next() {
        _ if same.len() >= MAX_OF_ONE_PATH || (is_full && !same.is_empty()) => Err(NoAnswer::StillBlocked),
        Some(other) if is_full => Err(NoAnswer::TooMany(other.path.clone())),
        _ => Ok(same),
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, Blocked>> {
    BLOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
