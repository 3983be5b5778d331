//! The calls of the file system that do not return, and which accesses they refuse.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{HASTE, PATIENCE, Progress};

/// Maximum number of threads whose calls do not return, for each [`Share`].
pub(super) const MAX_BLOCKED: usize = 16;
/// The same for one path, however often something on it is replaced.
pub(super) const MAX_OF_ONE_PATH: usize = 4;
/// The same for one file system, except that of the root: other files of it are refused without waiting for them.
const MAX_OF_ONE_FILE_SYSTEM: usize = 4;

/// The calls that do not return, by the number of the call.
static BLOCKED: Mutex<BTreeMap<u64, Blocked>> = Mutex::new(BTreeMap::new());

/// A call that does not return.
pub(super) struct Blocked {
    pub(super) share: Share,
    pub(super) path: PathBuf,
    pub(super) progress: Arc<Progress>,
    /// It made no progress at all.
    pub(super) is_silent: bool,
}

/// The blocked accesses that refuse a new one, if it leads to the same place.
pub(super) struct Refusing {
    /// Those to the same path.
    pub(super) same_path: Vec<Arc<Progress>>,
    /// The file systems with many of them.
    pub(super) file_systems: Vec<u64>,
}

/// Which threads an access may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Those for plugins, models and everything else.
    Common,
    /// Those for the configuration, keys and certificates.
    Own,
}

/// Why a path was not accessed, or why the access took too long.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error(
        "the file system has not answered for {} s; check its mount (NFS, FUSE), or what the file is a link to",
        PATIENCE.as_secs()
    )]
    Silent,
    #[error(
        "the file system has not answered for {} ms, and other files of this scan did not answer at all; check their mounts \
         (NFS, FUSE)",
        HASTE.as_millis()
    )]
    SilentInHaste,
    #[error("it is read too slowly: {bytes} bytes in {seconds} s; check its mount (NFS, FUSE)")]
    Slow { bytes: u64, seconds: u64 },
    #[error("an earlier access to it is still blocked in the file system; check its mount (NFS, FUSE)")]
    StillBlocked,
    #[error("other files of its file system do not answer; check its mount (NFS, FUSE)")]
    FileSystem,
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

/// Finds the blocked accesses that refuse a new one, if it leads to the same place.
///
/// # Errors
/// If there is no room for another access.
pub(super) fn check_blocked(path: &Path, share: Share) -> Result<Refusing, NoAnswer> {
    let blocked = lock();
    let same: Vec<_> =
        blocked.values().filter(|other| other.path == path).map(|other| Arc::clone(&other.progress)).collect();
    let mut of_share = blocked.values().filter(|other| other.share == share);
    let is_full = of_share.clone().count() >= MAX_BLOCKED;
    match of_share.next() {
        _ if same.len() >= MAX_OF_ONE_PATH || (is_full && !same.is_empty()) => Err(NoAnswer::StillBlocked),
        Some(other) if is_full => Err(NoAnswer::TooMany(other.path.clone())),
        _ => Ok(Refusing { same_path: same, file_systems: silent_file_systems(&blocked, share) }),
    }
}

/// The file systems of which several files do not answer.
fn silent_file_systems(blocked: &BTreeMap<u64, Blocked>, share: Share) -> Vec<u64> {
    static ROOT: OnceLock<Option<u64>> = OnceLock::new();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for device in blocked.values().filter(|it| it.share == share && it.is_silent).filter_map(|it| it.progress.device())
    {
        *counts.entry(device).or_default() += 1;
    }
    counts.retain(|_, count| *count >= MAX_OF_ONE_FILE_SYSTEM);
    if !counts.is_empty()
        && let Some(root) = ROOT.get_or_init(|| std::fs::metadata("/").ok().map(|root| root.dev()))
    {
        counts.remove(root);
    }
    counts.into_keys().collect()
}

pub(super) fn lock() -> MutexGuard<'static, BTreeMap<u64, Blocked>> {
    BLOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}
