//! The copies of components beside the journal.

use std::fs;
use std::io;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::check_version;

use super::{COMPONENTS, JOURNAL, Journal, JournalError};
use crate::base::files::read_regular;
use crate::deploy::durable_file::write_durably;
use crate::deploy::journal_state::VersionRecord;
use crate::deploy::manifest::Manifest;
use crate::deploy::release::Release;
use crate::deploy::staged_copy::StagedCopy;

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
        self.wanted().kept.insert(artifact.identity.digest.to_string());
        if let Some(staged) = staged.filter(|_| !path.is_file()) {
            // If this fails, the copy is written again. The state before may be being written now, so the flag comes after.
            let _ = staged.move_to(&path);
            self.has_moved.store(true, SeqCst);
        }
        self.keep(artifact)
    }

    /// Stores a copy of a component on disk, and returns the artifact that reads it from there. The copy is removed with
    /// the next state that does not name it.
    ///
    /// # Errors
    /// If the component cannot be read or written.
    pub fn keep(&self, artifact: Artifact) -> Result<Artifact, JournalError> {
        self.wanted().kept.insert(artifact.identity.digest.to_string());
        let path = self.component(&artifact.identity.digest);
        if !path.is_file() {
            let bytes = artifact.bytes()?;
            let written = self.lock_again().and_then(|()| write_durably(&path, &bytes));
            written.map_err(|error| JournalError::CopyNotWritten { folder: self.folder.clone(), error })?;
        }
        Ok(artifact.stored_at(&path))
    }

    /// Reads the release of a record.
    ///
    /// # Errors
    /// If the component cannot be read or was changed, or the manifest is invalid.
    pub fn release(&self, name: &str, entry: &VersionRecord) -> Result<Release, JournalError> {
        let path = self.component(&entry.digest);
        let bytes = match read_regular(&path, u64::MAX) {
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
            text => Manifest::parse(text.to_owned(), &entry.manifest_path)?,
        };
        Ok(Release { artifact, manifest, source: entry.source(), at: entry.at })
    }

    /// Removes a copy that is damaged. If that is not possible, it cannot be written again either.
    pub fn remove_copy(&self, digest: &str) {
        if self.lock_again().is_ok() {
            let _ = fs::remove_file(self.component(digest));
        }
    }

    /// Checks that the folder of copies is not empty. It may be the folder under a file system that was unmounted.
    ///
    /// # Errors
    /// If it is.
    pub fn check_copies(&self) -> Result<(), JournalError> {
        let components = self.folder.join(COMPONENTS);
        match fs::read_dir(&components).map(|mut files| files.next().is_none()) {
            Ok(true) => Err(JournalError::NoCopies { components, journal: self.folder.join(JOURNAL) }),
            _ => Ok(()),
        }
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
