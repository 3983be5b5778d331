//! The limit of open file descriptors.

use std::fs::{self, File};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors that the process opens before it can report the lack of one: those of the async runtime, which panics
/// without them, and of the files that it reads first.
const LEAST: usize = 16;

/// There are too few file descriptors to start.
#[derive(Debug, thiserror::Error)]
#[error(
    "there are too few file descriptors: {LEAST} more are needed to start, and {free} are free{}; raise the limit \
     (`ulimit -n`, `LimitNOFILE` of systemd)",
    limit.map(|limit| format!(" of {limit}")).unwrap_or_default()
)]
pub struct TooFew {
    free: usize,
    limit: Option<u64>,
}

/// Checks that there are enough file descriptors to start.
///
/// # Errors
/// [`TooFew`] if there are not.
pub fn check() -> Result<(), TooFew> {
    let opened: Vec<_> = std::iter::repeat_with(|| File::open("/dev/null")).take(LEAST).map_while(Result::ok).collect();
    if opened.len() < LEAST && is_lacking() { Err(TooFew { free: opened.len(), limit: limit() }) } else { Ok(()) }
}

/// File descriptors that new stages must leave free: for connections, the journal, the events of the file system, and the files
/// that the host reads and writes.
const SPARE: u64 = 12;

/// New stages would leave too few file descriptors.
#[derive(Debug, thiserror::Error)]
#[error(
    "too few file descriptors (`ulimit -n`, `LimitNOFILE` of systemd): {free} of {limit} would be free, and {SPARE} must be, \
     for connections and files. Each version of a plugin that is kept takes some, so raise the limit or lower `deploy.keep`"
)]
pub struct TooFewLeft {
    free: u64,
    limit: u64,
}

/// The number of open file descriptors.
pub fn open() -> Option<u64> {
    // Since Linux 6.2 the size of the folder is the number of its entries. The descriptor that reads it does not count.
    let folder = fs::metadata("/proc/self/fd").map(|folder| folder.len()).ok();
    let counted = || fs::read_dir("/proc/self/fd").map(|entries| (entries.count() as u64).saturating_sub(1)).ok();
    folder.filter(|count| *count > 0).or_else(counted)
}

/// Checks that new stages have left enough free file descriptors.
///
/// # Errors
/// [`TooFewLeft`] if they have not.
pub fn check_left() -> Result<(), TooFewLeft> {
    let (Some(open), Some(limit)) = (open(), limit()) else { return Ok(()) };
    let free = limit.saturating_sub(open);
    if free < SPARE { Err(TooFewLeft { free, limit }) } else { Ok(()) }
}

/// Returns true if no file can be opened for lack of descriptors. A machine may have no `/dev/null`.
fn is_lacking() -> bool {
    File::open("/dev/null").is_err_and(|error| {
        let errno = Errno::from_io_error(&error);
        errno.is_some_and(|errno| errno == Errno::MFILE || errno == Errno::NFILE)
    })
}

/// The number of file descriptors that this process may open; `None` if there is no limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit to the hard limit, which needs no privileges. The soft limit is often 1,024, because some
/// programs cannot handle more.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        let current = current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        tracing::warn!("the limit of open files stays at {current}, because it cannot be raised: {error}");
    }
}
