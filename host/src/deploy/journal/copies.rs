//! The copies of components beside the journal.

use std::fs;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::check_version;

use super::{COMPONENTS, JOURNAL, Journal, JournalError, WASM, digests, has_extension};
use crate::base::files::read_regular;
use crate::deploy::durable_file::create_durably;
use crate::deploy::journal_state::{JournalState, VersionRecord};
use crate::deploy::manifest::Manifest;
use crate::deploy::release::Release;
use crate::deploy::staged_copy::StagedCopy;

/// The most bytes of a copy that are read: the sizes in a component are numbers of 32 bits.
const MAX_COPY: u64 = 4 << 30;

impl Journal {
    /// Writes a copy of a component for [`Journal::keep_staged`]. `None` if it is there, or cannot be written.
    pub(in crate::deploy) fn stage(&self, artifact: &Artifact) -> Option<StagedCopy> {
        let digest = &*artifact.identity.digest;
        if !self.lock.is_held() || self.lock.check().is_err() || self.component(digest).is_file() {
            return None;
        }
        StagedCopy::write(&self.folder, digest, &artifact.bytes().ok()?).ok()
    }

    /// As [`Journal::keep`], with a copy of this component that was written before.
    ///
    /// # Errors
    /// If the component cannot be read or written.
    pub(in crate::deploy) fn keep_staged(
        &self,
        artifact: Artifact,
        staged: Option<StagedCopy>,
    ) -> Result<Artifact, JournalError> {
        let path = self.component(&artifact.identity.digest);
        self.want(&artifact.identity.digest)?;
        // If this fails, the copy is written again.
        if let Some(staged) = staged.filter(|_| !path.is_file() && self.begin_journal().is_ok()) {
            let _ = staged.move_to(&path);
        }
        self.keep(artifact)
    }

    /// Stores a copy of a component on disk, and returns the artifact that reads it from there. The copy is removed with
    /// the next state that does not name it.
    ///
    /// # Errors
    /// If the component cannot be read or written.
    pub fn keep(&self, artifact: Artifact) -> Result<Artifact, JournalError> {
        self.want(&artifact.identity.digest)?;
        let path = self.component(&artifact.identity.digest);
        if !path.is_file() {
            let bytes = artifact.bytes()?;
            let written =
                self.lock_again().and_then(|()| self.begin_journal()).and_then(|()| create_durably(&path, &bytes));
            written.map_err(|error| JournalError::CopyNotWritten { folder: self.folder.clone(), error })?;
        }
        // Also for a copy that was there: its name may not be on disk yet. The next state is written after it is. The state
        // before may be being written now, so the flag comes after the copy.
        self.has_moved.store(true, SeqCst);
        Ok(artifact.stored_at(&path))
    }

    /// Reads the release of a record.
    ///
    /// # Errors
    /// If the component cannot be read or was changed, or the manifest is invalid.
    pub fn release(&self, name: &str, entry: &VersionRecord) -> Result<Release, JournalError> {
        let path = self.component(&entry.digest);
        let bytes = match read_regular(&path, MAX_COPY) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::Missing(path)),
            Err(error) => return Err(JournalError::UnreadableCopy { path, error }),
        };
        let release = Self::release_of(name, entry, bytes.into())?;
        if *release.artifact.identity.digest != entry.digest {
            return Err(JournalError::Changed(path));
        }
        Ok(Release { artifact: release.artifact.stored_at(&path), ..release })
    }

    /// The release of a record whose component has these bytes.
    ///
    /// # Errors
    /// If the manifest is invalid.
    pub fn release_of(name: &str, entry: &VersionRecord, bytes: Bytes) -> Result<Release, JournalError> {
        let artifact = Artifact::new(name, Some(&usable_version(&entry.version)), bytes)?;
        let manifest = match entry.manifest.as_str() {
            "" => Manifest::default(),
            text => {
                let (plugin, version) = (name.to_owned(), entry.version.clone());
                let parsed = Manifest::parse(text.to_owned(), &entry.manifest_path);
                parsed.map_err(|error| JournalError::Manifest { plugin, version, error })?
            }
        };
        Ok(Release { artifact, manifest, source: entry.source(), at: entry.at })
    }

    /// Removes a copy that is damaged. If that is not possible, it cannot be written again either.
    pub fn remove_copy(&self, digest: &str) {
        if self.lock_again().is_ok() {
            let _ = fs::remove_file(self.component(digest));
        }
    }

    /// Checks that the journal and the copies are there together. One of them may be under a file system that is not mounted,
    /// or may be missing in a backup; what is not seen is not gone.
    ///
    /// # Errors
    /// If there are copies without a journal, or the journal names copies and there are none.
    pub(in crate::deploy) fn check_copies(&self, state: &JournalState) -> Result<(), JournalError> {
        let (journal, components) = (self.folder.join(JOURNAL), self.folder.join(COMPONENTS));
        let is_new = self.read.get().is_some_and(Option::is_none);
        let copies = match fs::read_dir(&components) {
            Ok(files) => files.flatten().filter(|file| has_extension(&file.path(), WASM)).count(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => 0,
            // Whether a copy can be read is seen when it is needed.
            Err(_) if !is_new => return Ok(()),
            Err(error) => return Err(JournalError::Unreadable { path: components, error }),
        };
        match copies {
            0 if !digests(state).is_empty() => Err(JournalError::NoCopies { components, journal }),
            1.. if is_new => Err(JournalError::NoJournal { components, journal, copies }),
            _ => Ok(()),
        }
    }

    /// Writes an empty journal before the first copy, so that copies without a journal show that the journal is lost.
    fn begin_journal(&self) -> io::Result<()> {
        let has_begun = || self.read.get().is_none_or(Option::is_some) || self.has_begun.load(SeqCst);
        if has_begun() {
            return Ok(());
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if has_begun() { Ok(()) } else { self.write_file(&mut file, &JournalState::default()) }
    }
}

/// The version of a record. An older version of this program accepted any text, so a text that is no longer allowed is
/// replaced.
fn usable_version(version: &str) -> String {
    if check_version(version).is_ok() {
        return version.to_owned();
    }
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '+' | '-');
    let usable: String = version.chars().take(40).map(|letter| if is_allowed(letter) { letter } else { '_' }).collect();
    if usable.is_empty() { UNVERSIONED.to_owned() } else { usable }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;

    fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("plimsoll-copies-{}", uuid::Uuid::new_v4()))
    }

    fn artifact(byte: u8) -> Artifact {
        Artifact::new("p", Some("1"), vec![byte; 9_000].into()).expect("valid")
    }

    /// Reads the journal. Tests of folders that do not answer may have taken all places for that in this process.
    fn read(journal: &Journal) -> JournalState {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match journal.read() {
                Ok(state) => return state,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn written(folder: &Path) -> Option<JournalState> {
        let text = fs::read(folder.join(JOURNAL)).ok()?;
        Some(JournalState::parse(&text).expect("a journal"))
    }

    /// A first start that is killed before it has written what it serves is no lost journal.
    #[test]
    fn the_journal_is_there_before_the_first_copy() {
        let folder = folder();
        let journal = Journal::open(&folder).expect("opened");
        assert_eq!(read(&journal), JournalState::default());
        journal.check_copies(&JournalState::default()).expect("a first start");
        assert_eq!(written(&folder), None);
        journal.keep(artifact(1)).expect("kept");
        assert_eq!(written(&folder), Some(JournalState::default()));
        drop(journal);
        let journal = Journal::open(&folder).expect("opened");
        journal.check_copies(&read(&journal)).expect("no journal was lost");
        fs::remove_file(folder.join(JOURNAL)).expect("removed");
        drop(journal);
        let journal = Journal::open(&folder).expect("opened");
        let error = journal.check_copies(&read(&journal)).expect_err("a copy without a journal");
        assert!(matches!(error, JournalError::NoJournal { copies: 1, .. }), "{error}");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_journal_is_never_begun_again() {
        let folder = folder();
        let plugins = [("p".to_owned(), Default::default())].into();
        let state = JournalState { plugins, ..JournalState::default() };
        for _ in 0..2 {
            let journal = Journal::open(&folder).expect("opened");
            read(&journal);
            journal.write(&state).expect("written");
            journal.keep(artifact(2)).expect("kept");
            assert_eq!(written(&folder), Some(state.clone()));
        }
        fs::remove_dir_all(folder).expect("removed");
    }
}
