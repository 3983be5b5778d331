//! The calls of the file system that do not return, and which accesses they refuse.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::no_answer::{MAX_BLOCKED, NoAnswer};
use super::progress::{Progress, Refusing};

/// Maximum number of threads whose calls do not return for one path, however often something on it is replaced.
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

/// Which threads an access may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Those for plugins, models and everything else.
    Common,
    /// Those for the configuration, keys and certificates.
    Own,
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
