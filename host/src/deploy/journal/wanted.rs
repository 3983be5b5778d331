//! The copies of components that stay, and the removal of the others.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::wanted_digests::{Wanted, digests};
use super::{COMPONENTS, DRAFT, Journal, JournalError, WASM, has_extension, starts_with_digest};
use crate::deploy::journal_state::JournalState;

/// How long a change waits for the removal of an earlier copy of its component.
const REMOVAL: Duration = Duration::from_millis(100);

/// Copies that are being written beside the changes. They stay while this value lives.
pub(in crate::deploy) struct Protected<'a> {
    journal: &'a Journal,
    digests: BTreeSet<String>,
}

impl Drop for Protected<'_> {
    fn drop(&mut self) {
        let mut wanted = self.journal.wanted();
        wanted.protected.retain(|digest, changes| {
            *changes -= usize::from(self.digests.contains(digest));
            *changes > 0
        });
        wanted.has_unwanted = true;
    }
}

impl Journal {
    /// Lets the copies with these digests stay, although no state names them yet.
    pub(in crate::deploy) fn protect(&self, digests: BTreeSet<String>) -> Protected<'_> {
        let mut wanted = self.wanted();
        for digest in &digests {
            *wanted.protected.entry(digest.clone()).or_default() += 1;
        }
        drop(wanted);
        Protected { journal: self, digests }
    }

    /// Announces a state that will be written. The components that it names stay, also if an earlier state is written
    /// meanwhile.
    pub(in crate::deploy) fn announce(&self, state: &JournalState) {
        self.wanted().set(digests(state), BTreeSet::new());
    }

    /// Announces the state `ahead`, which will be written before the change from `now` to it. The change may fail, so the
    /// components that either names stay.
    pub(in crate::deploy) fn announce_ahead(&self, now: &JournalState, ahead: &JournalState) {
        self.wanted().set(digests(now), digests(ahead));
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the components that a state does not name. A component that cannot be removed only wastes disk space.
    pub(super) fn remove_unnamed(&self, state: &JournalState) {
        let named = digests(state);
        for file in fs::read_dir(self.folder.join(COMPONENTS)).into_iter().flatten().flatten() {
            let (path, name) = (file.path(), file.file_name());
            let digest = Path::new(&name).file_stem().unwrap_or_default().to_string_lossy();
            let mut wanted = self.wanted();
            let is_written = wanted.kept.contains(&*digest) || wanted.protected.contains_key(&*digest);
            let is_wanted = is_written || wanted.named.contains(&*digest);
            // If only the written state names it, a later one will not.
            wanted.has_unwanted |= named.contains(&*digest) && !is_wanted;
            let is_wanted = is_wanted || named.contains(&*digest);
            // A draft is the copy that is being written now.
            let (is_copy, is_draft) = (has_extension(&path, WASM), has_extension(&path, DRAFT));
            let is_ours = (is_copy || is_draft) && starts_with_digest(&digest);
            if !is_ours || (is_wanted && is_copy) || (is_draft && is_written) {
                continue;
            }
            // The lock is not held meanwhile, because a change may wait for it, and a disk may have stopped. A change that
            // begins to use this copy waits for the mark.
            wanted.removed.insert(digest.to_string());
            drop(wanted);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            self.wanted().removed.remove(&*digest);
            self.is_removed.notify_all();
        }
    }

    /// Notes that a change needs the copy of a component. If it is just being removed, waits for that, for a short time.
    ///
    /// # Errors
    /// If it is still being removed.
    pub(super) fn want(&self, digest: &str) -> Result<(), JournalError> {
        let mut wanted = self.wanted();
        wanted.kept.insert(digest.to_owned());
        let is_removed = |wanted: &mut Wanted| wanted.removed.contains(digest);
        let waited = self.is_removed.wait_timeout_while(wanted, REMOVAL, is_removed);
        let (wanted, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !wanted.removed.contains(digest) {
            return Ok(());
        }
        let error =
            io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer: an earlier copy is being removed");
        Err(JournalError::CopyNotWritten { folder: self.folder.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_runtime::component::Artifact;

    use super::*;

    fn artifact(byte: u8) -> Artifact {
        Artifact::new("p", Some("1"), vec![byte; 9_000].into()).expect("valid")
    }

    #[test]
    fn a_copy_that_two_changes_keep_stays_until_both_have_ended() {
        let folder = std::env::temp_dir().join(format!("plimsoll-wanted-{}", uuid::Uuid::new_v4()));
        let journal = Journal::open(&folder).expect("opened");
        let artifact = artifact(7);
        let digest = artifact.identity.digest.to_string();
        let [first, second] = [(); 2].map(|()| journal.protect([digest.clone()].into()));
        journal.keep(artifact).expect("kept");
        let state = JournalState::default();
        for (protected, is_kept) in [(first, true), (second, false)] {
            drop(protected);
            journal.announce(&state);
            journal.write(&state).expect("written");
            assert_eq!(journal.component(&digest).is_file(), is_kept);
        }
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_copy_that_is_written_beside_the_changes_stays_until_a_state_may_name_it() {
        let folder = std::env::temp_dir().join(format!("plimsoll-wanted-{}", uuid::Uuid::new_v4()));
        let journal = Journal::open(&folder).expect("opened");
        let artifact = artifact(7);
        let digest = artifact.identity.digest.to_string();
        let protected = journal.protect([digest.clone()].into());
        let kept = journal.keep(artifact.clone()).expect("kept");
        // Another change hands in a state that does not name it.
        let state = JournalState::default();
        journal.announce(&state);
        journal.write(&state).expect("written");
        assert!(kept.bytes().is_ok() && journal.component(&digest).is_file());
        drop(protected);
        journal.write(&state).expect("written");
        assert!(!journal.component(&digest).is_file());

        // A copy that is being removed on a disk that has stopped is not taken for one that stays.
        journal.wanted().removed.insert(digest.clone());
        let error = journal.keep(artifact.clone()).expect_err("it is being removed");
        assert!(error.to_string().contains("the disk does not answer"), "{error}");
        journal.wanted().removed.clear();
        journal.keep(artifact).expect("kept");
        fs::remove_dir_all(folder).expect("removed");
    }
}
