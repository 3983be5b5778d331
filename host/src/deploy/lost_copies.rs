//! The versions of which there is no copy on disk, so that a restart forgets them.
//!
//! A change only notes them. Their copies are written after it, without the lock of deployments: a rollback must not wait for
//! a disk that has stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::staged_copy::StagedCopy;

/// How often a failed write is tried again, if there is no change in between.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Why there is no copy before that was tried.
const NOT_YET: &str = "the copy of its component is not written yet";

/// Why there is perhaps no copy after a panic.
const PANICKED: &str = "the host panicked while it wrote the copy of its component; the log has the reason";

/// A version: the digest of its component, and its plugin.
pub(super) type Version = (String, String);

/// The versions of which there is no copy on disk.
#[derive(Debug, Default)]
pub struct LostCopies {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that could not be written, with the reasons.
    lost: BTreeMap<Version, String>,
    /// Those that are to be written.
    untried: BTreeSet<Version>,
    /// Those that are being written now.
    writing: BTreeSet<Version>,
    /// Those that were written, and no state that was handed in names them yet.
    handing_in: BTreeSet<Version>,
    /// Copies that were written before their changes.
    staged: Vec<StagedCopy>,
    tried: Option<Instant>,
}

/// What a change has left to be written without the lock of deployments.
#[derive(Debug)]
pub(super) struct Untried {
    versions: BTreeSet<Version>,
    staged: Vec<StagedCopy>,
    lost_copies: Arc<LostCopies>,
}

impl Drop for Untried {
    /// What was not written is tried again after a later change; after a panic, at the next look at the plugin folder.
    fn drop(&mut self) {
        let mut state = self.lost_copies.lock();
        state.writing.retain(|version| !self.versions.contains(version));
        state.handing_in.retain(|version| !self.versions.contains(version));
        if std::thread::panicking() {
            for version in &self.versions {
                state.lost.entry(version.clone()).or_insert_with(|| PANICKED.to_owned());
            }
        }
    }
}

impl Untried {
    /// The digests of the components whose copies are to be written.
    pub(super) fn digests(&self) -> BTreeSet<String> {
        self.versions.iter().map(|(digest, _)| digest.clone()).collect()
    }

    /// The copies are written, and the state that names them is handed in next.
    pub(super) fn begin_handing_in(&self) {
        let mut state = self.lost_copies.lock();
        state.writing.retain(|version| !self.versions.contains(version));
        state.handing_in.extend(self.versions.iter().cloned());
    }

    /// Returns true if the copy of a version is to be written.
    pub(super) fn has(&self, version: &Version) -> bool {
        self.versions.contains(version)
    }

    /// Takes a copy that was written before the change.
    pub(super) fn take_staged(&mut self, digest: &str) -> Option<StagedCopy> {
        let at = self.staged.iter().position(|staged| staged.digest() == digest)?;
        Some(self.staged.swap_remove(at))
    }
}

impl LostCopies {
    /// Why there is no copy of a version; `None` if there is one.
    pub(super) fn reason(&self, version: &Version) -> Option<String> {
        let state = self.lock();
        let is_missing = [&state.untried, &state.writing, &state.handing_in].iter().any(|set| set.contains(version));
        state.lost.get(version).cloned().or(is_missing.then(|| NOT_YET.to_owned()))
    }

    /// Returns true if there is a copy of every version.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.lost.is_empty() && state.untried.is_empty()
    }

    /// Returns true if it is time to try again.
    pub fn is_retry_due(&self) -> bool {
        self.lock().tried.is_none_or(|tried| tried.elapsed() >= RETRY_INTERVAL)
    }

    /// Lets the copies that could not be written be tried again.
    pub(super) fn try_again(&self) {
        let mut state = self.lock();
        let State { lost, untried, writing, .. } = &mut *state;
        untried.extend(lost.keys().filter(|version| !writing.contains(*version)).cloned());
    }

    /// Notes the versions without a copy. Those that are new are tried after the change. Returns true if there are any to
    /// be tried.
    pub(super) fn note(&self, unkept: &BTreeSet<Version>) -> bool {
        let mut state = self.lock();
        let State { lost, untried, writing, tried, .. } = &mut *state;
        lost.retain(|version, _| {
            if !unkept.contains(version) {
                tracing::info!(plugin = version.1, "a restart remembers this version now");
            }
            unkept.contains(version)
        });
        untried.retain(|version| unkept.contains(version));
        let is_new = |version: &&Version| !lost.contains_key(*version) && !writing.contains(*version);
        untried.extend(unkept.iter().filter(is_new).cloned());
        if untried.is_empty() && lost.is_empty() {
            *tried = Some(Instant::now());
        }
        !untried.is_empty()
    }

    /// Keeps copies that were written before the change, until it has ended. Those that are not needed are removed then.
    pub(super) fn keep_staged(&self, staged: impl IntoIterator<Item = StagedCopy>) {
        self.lock().staged.extend(staged);
    }

    /// Takes what is to be written. Call it with the lock of deployments: then it is what this change has noted, and no other
    /// change waits for it.
    pub(super) fn take_untried(self: &Arc<Self>) -> Untried {
        let mut state = self.lock();
        let (versions, staged) = (std::mem::take(&mut state.untried), std::mem::take(&mut state.staged));
        state.writing.extend(versions.iter().cloned());
        Untried { versions, staged, lost_copies: Arc::clone(self) }
    }

    /// Sets the result of an attempt: the versions that could not be written, with the reasons.
    pub(super) fn set_tried(&self, failed: BTreeMap<Version, String>) {
        let mut state = self.lock();
        for (version, reason) in failed {
            if !state.lost.contains_key(&version) {
                tracing::error!(plugin = version.1, "a restart forgets this version: {reason}");
            }
            state.lost.insert(version, reason);
        }
        state.tried = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(digests: &[&str]) -> BTreeSet<Version> {
        digests.iter().map(|digest| ((*digest).to_owned(), "p".to_owned())).collect()
    }

    #[test]
    fn each_version_is_written_by_the_change_that_noted_it() {
        let copies = Arc::new(LostCopies::default());
        assert!(!copies.note(&versions(&[])) && copies.is_empty());
        assert!(copies.note(&versions(&["a"])));
        let a = ("a".to_owned(), "p".to_owned());
        let first = copies.take_untried();
        assert_eq!(copies.reason(&a).as_deref(), Some(NOT_YET), "it is being written");
        // Another change meanwhile does not wait for it.
        assert!(!copies.note(&versions(&["a"])));
        assert!(copies.take_untried().digests().is_empty());
        copies.set_tried([(a.clone(), "full".to_owned())].into());
        drop(first);
        assert_eq!(copies.reason(&a).as_deref(), Some("full"));
        assert!(!copies.note(&versions(&["a"])), "it waits for the next attempt");
        copies.try_again();
        assert!(copies.note(&versions(&["a"])));
        let second = copies.take_untried();
        assert!(second.has(&a));
        assert!(!copies.note(&versions(&[])));
        copies.set_tried(BTreeMap::new());
        second.begin_handing_in();
        assert_eq!(copies.reason(&a).as_deref(), Some(NOT_YET), "no state that was handed in names it");
        drop(second);
        assert!(!copies.note(&versions(&[])) && copies.is_empty() && copies.reason(&a).is_none());
    }
}
