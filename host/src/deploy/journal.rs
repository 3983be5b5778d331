//! The state that is kept across restarts: which version of each plugin serves, which versions served before, and which
//! files were already handled. Copies of the components are stored next to the journal, named by their digests.
//!
//! The journal file is replaced by an atomic rename, after the component that it names is on disk. If the process is
//! killed, the file has the state from before or after a change, never a partial one.
//!
//! A folder that cannot be written to is still read. Then changes are not durable: [`Journal::problem`] has the reason
//! until a later write succeeds.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::{check_version, digest};

use super::durable_file::{DRAFT, write_durably};
use super::folder_lock::FolderLock;
pub use super::journal_error::JournalError;
use super::journal_state::{JournalState, VersionRecord};
use super::manifest::Manifest;
use super::release::Release;
use super::staged_copy::StagedCopy;
use crate::base::files::read_regular;

/// The folder of deployments, locked for this process.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    lock: FolderLock,
    /// The digest of the journal that was read; `None` if there was none.
    read: OnceLock<Option<String>>,
    /// Why the latest state is not on disk.
    problem: Mutex<Option<String>>,
}

const JOURNAL: &str = "plugins.json";
/// The folder of the copies of components, in the data folder.
const COMPONENTS: &str = "components";

impl Journal {
    /// Opens the folder, and creates it if it is missing. If it cannot be written to, logs a warning; then it is only
    /// read, and a restart forgets new deployments.
    ///
    /// # Errors
    /// If another process uses the folder.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let lock = FolderLock::new(folder, COMPONENTS);
        let this = Self { folder: folder.to_owned(), lock, read: OnceLock::new(), problem: Mutex::default() };
        match this.lock.take() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => {
                let reason = this.not_written(error).to_string();
                tracing::warn!("{reason}; a restart forgets new deployments");
                this.set_problem(Some(reason));
            }
        }
        Ok(this)
    }

    /// Reads the state; it is empty at the first start.
    ///
    /// # Errors
    /// If the file cannot be read, is not a valid journal, or was written by a later version of this program. A file that
    /// may be there and cannot be looked at is not a missing file.
    pub fn read(&self) -> Result<JournalState, JournalError> {
        let path = self.folder.join(JOURNAL);
        let bytes = match self.read_bytes() {
            Ok(bytes) => bytes,
            Err(error) => return Err(JournalError::Unreadable { path, error }),
        };
        let _ = self.read.set(bytes.as_deref().map(digest));
        let state = bytes.map_or_else(|| Ok(JournalState::default()), |bytes| JournalState::parse(&bytes));
        state.map_err(|error| JournalError::Invalid { path, error })
    }

    /// The content of the journal; `None` if there certainly is none.
    fn read_bytes(&self) -> io::Result<Option<Vec<u8>>> {
        match read_regular(&self.folder.join(JOURNAL), u64::MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            // A file at the path of the folder: a warning was logged when it was opened.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes what an earlier process left: drafts, and components that the state does not name. They could fill the
    /// disk, and then no state can be written.
    pub fn remove_leftovers(&self, state: &JournalState) {
        if !self.lock.is_held() {
            return;
        }
        // The lock shows that no other process is writing.
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|file| file.path());
        for draft in files.filter(|path| path.extension().is_some_and(|extension| extension == DRAFT)) {
            let _ = fs::remove_file(draft);
        }
        self.remove_unnamed(state);
    }

    /// The reason why the latest state is not on disk; `None` if it is.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the problem before.
    fn set_problem(&self, problem: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.problem.lock().unwrap_or_else(PoisonError::into_inner), problem)
    }

    /// Replaces the state, and removes the components that it no longer names. A failure is logged once, until a state
    /// can be written again.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn write(&self, state: &JournalState) -> Result<(), JournalError> {
        let written = self.lock_again().and_then(|()| {
            let text = state.to_text().map_err(io::Error::other)?;
            write_durably(&self.folder.join(JOURNAL), &text)
        });
        match written {
            Ok(()) => {
                if self.set_problem(None).is_some() {
                    tracing::info!("the journal of deployments is written again; a restart forgets nothing");
                }
                self.remove_unnamed(state);
                Ok(())
            }
            Err(error) => {
                let error = self.not_written(error);
                if self.set_problem(Some(error.to_string())).is_none() {
                    tracing::error!("{error}; a restart forgets the latest changes");
                }
                Err(error)
            }
        }
    }

    fn not_written(&self, error: io::Error) -> JournalError {
        JournalError::StateNotWritten { folder: self.folder.clone(), error }
    }

    /// Locks the folder if it could not be locked before, for example because it was read-only. Returns an error if the
    /// folder has another journal than the one that was read: it must not be replaced.
    fn lock_again(&self) -> io::Result<()> {
        if self.lock.is_held() {
            return self.lock.check();
        }
        let now = self.read_bytes()?.as_deref().map(digest);
        if now.is_some() && self.read.get() != Some(&now) {
            return Err(io::Error::other(
                "the journal in it is not the one that was read at the start; restart the server to use it",
            ));
        }
        self.lock.take().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another process uses it"),
        })
    }

    /// Removes the components that a state does not name. A component that cannot be removed only wastes disk space.
    fn remove_unnamed(&self, state: &JournalState) {
        let plugins = state.plugins.values();
        let entries = plugins.flat_map(|plugin| plugin.serving.iter().chain(&plugin.candidate).chain(&plugin.previous));
        let named: BTreeSet<_> = entries.map(|entry| format!("{}.wasm", entry.digest)).collect();
        for file in fs::read_dir(self.folder.join(COMPONENTS)).into_iter().flatten().flatten() {
            if !named.contains(&*file.file_name().to_string_lossy())
                && let Err(error) = fs::remove_file(file.path())
            {
                tracing::warn!("cannot remove {}: {error}", file.path().display());
            }
        }
    }

    /// Writes a copy of a component for [`Journal::keep_staged`]. `None` if it is there, or cannot be written.
    pub(super) fn stage(&self, artifact: &Artifact) -> Option<StagedCopy> {
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
    pub(super) fn keep_staged(&self, artifact: Artifact, staged: Option<StagedCopy>) -> Result<Artifact, JournalError> {
        let path = self.component(&artifact.identity.digest);
        if let Some(staged) = staged.filter(|_| !path.is_file()) {
            // If this fails, the copy is written again.
            let _ = staged.move_to(&path);
        }
        self.keep(artifact)
    }

    /// Stores a copy of a component on disk, and returns the artifact that reads it from there. The next
    /// [`Journal::write`] removes the copy if the state does not name it.
    ///
    /// # Errors
    /// If the component cannot be read or written.
    pub fn keep(&self, artifact: Artifact) -> Result<Artifact, JournalError> {
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

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join(COMPONENTS).join(format!("{digest}.wasm"))
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
