//! A time limit for access to files that may never answer: on a stalled NFS or FUSE mount, or a file of the kernel that
//! waits for data.
//!
//! A call of the file system cannot be interrupted. So [`within_time`] makes it on a thread of its own, and stops waiting for
//! a thread that makes no progress. Such a thread stays blocked until its call returns. The number of these threads is
//! limited, and a path whose call is still blocked is refused at once, so it takes one thread however often it is tried.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a call may make no progress.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The time that every access may take. A larger file may take a second more for each [`SLOWEST`] bytes that were read.
const LEAST_TIME: Duration = Duration::from_secs(60);
/// The lowest rate in bytes per second at which a large file may be read.
const SLOWEST: u64 = 1 << 20;
/// Maximum number of threads whose calls do not return.
const MAX_BLOCKED: usize = 16;
/// The stack of a thread that makes calls of the file system. It also reads directories and computes digests.
const STACK: usize = 512 << 10;

/// The calls that do not return, by the number of the call.
static BLOCKED: Mutex<BTreeMap<u64, PathBuf>> = Mutex::new(BTreeMap::new());

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
    check_blocked(path)?;
    let call = Call::new();
    let (number, progress) = (call.0, Arc::new(Progress::default()));
    let (sender, receiver) = sync_channel(1);
    let of_thread = Arc::clone(&progress);
    thread::Builder::new().name("files".to_owned()).stack_size(STACK).spawn(move || {
        // Dropped last, so that `number` is unblocked after the result was sent, and also after a panic.
        let _call = call;
        PROGRESS.set(Some(of_thread));
        // The channel has room, and is closed if nothing waits any more.
        let _ = sender.send(calls());
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
        blocked.insert(number, path.to_owned());
        let reason = match bytes != seen {
            true => NoAnswer::Slow { bytes, seconds: elapsed.as_secs() },
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

fn check_blocked(path: &Path) -> Result<(), NoAnswer> {
    let blocked = lock();
    if blocked.values().any(|other| other == path) {
        return Err(NoAnswer::StillBlocked);
    }
    match blocked.values().next() {
        Some(other) if blocked.len() >= MAX_BLOCKED => Err(NoAnswer::TooMany(other.clone())),
        _ => Ok(()),
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, PathBuf>> {
    BLOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    /// An access that is blocked until the sender is dropped.
    fn block(path: &str) -> (io::Result<()>, Sender<()>) {
        let (release, released) = channel::<()>();
        let result = limited(Path::new(path), SHORT, LEAST_TIME, move || {
            let _ = released.recv();
            Ok(())
        });
        (result, release)
    }

    fn wait_until_unblocked(path: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while lock().values().any(|other| other == Path::new(path)) {
            assert!(Instant::now() < end, "{path} stays blocked");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// One test, because the blocked calls are shared by the process.
    #[test]
    fn blocked_calls_are_abandoned_limited_and_forgotten_when_they_return() {
        let read = |path: &str| limited(Path::new(path), LONG, LEAST_TIME, || Ok(7));
        let (blocked, release) = block("one");
        assert_eq!(blocked.expect_err("no answer").kind(), io::ErrorKind::TimedOut);
        let again = read("one").expect_err("refused");
        assert!(again.to_string().contains("still blocked"), "{again}");
        assert_eq!(read("two").expect("another path"), 7);
        drop(release);
        wait_until_unblocked("one");
        assert_eq!(read("one").expect("it returned"), 7);

        let paths: Vec<_> = (0..MAX_BLOCKED).map(|number| format!("blocked-{number}")).collect();
        let all: Vec<_> = paths.iter().map(|path| block(path).1).collect();
        let refused = read("two").expect_err("refused").to_string();
        assert!(refused.contains("16 accesses") && refused.contains("blocked-0"), "{refused}");
        assert_eq!(blocked_count(&paths), MAX_BLOCKED);
        drop(all);
        paths.iter().for_each(|path| wait_until_unblocked(path));
        assert_eq!(read("two").expect("there is room again"), 7);

        let second = Duration::from_secs(1);
        let drip = |patience: Duration, pause: Duration, count: u32, least_time: Duration| {
            limited(Path::new("drip"), patience, least_time, move || {
                for _ in 0..count {
                    thread::sleep(pause);
                    note_progress(1)?;
                }
                Ok(())
            })
        };
        drip(second * 2, second / 2, 5, LEAST_TIME).expect("each byte is progress");
        let slow = drip(second, second / 50, 500, second).expect_err("too slow").to_string();
        assert!(slow.contains("read too slowly"), "{slow}");
        wait_until_unblocked("drip");

        let panicked = limited(Path::new("panic"), LONG, LEAST_TIME, || -> io::Result<()> { panic!("in a test") });
        let panicked = panicked.expect_err("panicked").to_string();
        assert!(panicked.contains("panicked"), "{panicked}");
        // Calls inside of calls need no further thread.
        let outer = limited(Path::new("outer"), LONG, LEAST_TIME, || {
            let outer = thread::current().id();
            within_time(Path::new("inner"), move || Ok(thread::current().id() == outer))
        });
        assert!(outer.expect("read"));
    }

    fn blocked_count(paths: &[String]) -> usize {
        lock().values().filter(|path| paths.iter().any(|other| Path::new(other) == **path)).count()
    }
}
