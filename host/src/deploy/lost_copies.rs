//! The versions of which there is no copy on disk, so that a restart forgets them.
//!
//! A change only notes them. Their copies are written after it, without the lock of deployments: a rollback must not wait for
//! a disk that has stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::release::Release;
use super::staged_copy::StagedCopy;

/// How often a failed write is tried again, if there is no change in between.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Why there is no copy before that was tried.
const NOT_YET: &str = "the copy of its component is not written yet";

/// The versions of which there is no copy on disk.
#[derive(Debug, Default)]
pub struct LostCopies {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The plugins and the reasons, by digest.
    lost: BTreeMap<String, (String, String)>,
    /// The plugins whose copies are to be written, by digest.
    untried: BTreeMap<String, String>,
    /// Those that are being written now.
    writing: BTreeSet<String>,
    /// Copies that were written before their changes.
    staged: Vec<StagedCopy>,
    tried: Option<Instant>,
}

/// What a change has left to be written without the lock of deployments.
#[derive(Debug)]
pub(super) struct Untried {
    digests: BTreeSet<String>,
    staged: Vec<StagedCopy>,
    lost_copies: Arc<LostCopies>,
}

impl Drop for Untried {
    /// What was not written is tried again after a later change.
    fn drop(&mut self) {
        self.lost_copies.lock().writing.retain(|digest| !self.digests.contains(digest));
    }
}

impl Untried {
    /// The digests of the components whose copies are to be written.
    pub(super) fn digests(&self) -> &BTreeSet<String> {
        &self.digests
    }

    /// Returns true if the copy of a release is to be written.
    pub(super) fn has(&self, release: &Release) -> bool {
        self.digests.contains(&*release.artifact.identity.digest)
    }

    /// Takes a copy that was written before the change.
    pub(super) fn take_staged(&mut self, digest: &str) -> Option<StagedCopy> {
        let at = self.staged.iter().position(|staged| staged.digest() == digest)?;
        Some(self.staged.swap_remove(at))
    }
}

impl LostCopies {
    /// Why there is no copy of a plugin's latest version; `None` if there is one.
    pub fn reason(&self, plugin: &str) -> Option<String> {
        let state = self.lock();
        let untried = state.untried.values().any(|name| name == plugin).then(|| NOT_YET.to_owned());
        let mut lost = state.lost.values();
        lost.find(|(name, _)| name == plugin).map(|(_, reason)| reason.clone()).or(untried)
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
        let again = lost.iter().filter(|(digest, _)| !writing.contains(*digest));
        untried.extend(again.map(|(digest, (name, _))| (digest.clone(), name.clone())));
    }

    /// Notes the versions without a copy. Those that are new are tried after the change. Returns true if there are any to
    /// be tried.
    pub(super) fn note(&self, unkept: &[(String, Arc<Release>)]) -> bool {
        let mut state = self.lock();
        let State { lost, untried, writing, tried, .. } = &mut *state;
        let unkept: BTreeMap<_, _> =
            unkept.iter().map(|(name, release)| (&*release.artifact.identity.digest, name)).collect();
        lost.retain(|digest, (name, _)| {
            let is_lost = unkept.contains_key(digest.as_str());
            if !is_lost {
                tracing::info!(plugin = name, "a restart remembers this version now");
            }
            is_lost
        });
        untried.retain(|digest, _| unkept.contains_key(digest.as_str()));
        let is_new = |digest: &str| !lost.contains_key(digest) && !writing.contains(digest);
        for (digest, name) in unkept.into_iter().filter(|(digest, _)| is_new(digest)) {
            untried.insert(digest.to_owned(), name.clone());
        }
        if untried.is_empty() {
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
        let (untried, staged) = (std::mem::take(&mut state.untried), std::mem::take(&mut state.staged));
        let digests: BTreeSet<_> = untried.into_keys().collect();
        state.writing.extend(digests.iter().cloned());
        Untried { digests, staged, lost_copies: Arc::clone(self) }
    }

    /// Sets the result of an attempt: the versions that could not be written, with the plugins and the reasons by digest.
    pub(super) fn set_tried(&self, failed: BTreeMap<String, (String, String)>) {
        let mut state = self.lock();
        for (digest, (name, reason)) in failed {
            if !state.lost.contains_key(&digest) {
                tracing::error!(plugin = name, "a restart forgets this version: {reason}");
            }
            state.lost.insert(digest, (name, reason));
        }
        state.tried = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
