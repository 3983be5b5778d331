//! The state that is kept across restarts: which version of each plugin serves, which versions served before, and which
//! files were already handled. Copies of the components are stored next to the journal, named by their digests.
//!
//! The journal file is replaced by an atomic rename, after the component that it names is on disk. If the process is
//! killed, the file has the state from before or after a change, never a partial one.
//!
//! A folder that cannot be written to is still read. Then changes are not durable: [`Journal::problem`] has the reason
//! until a later write succeeds.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::check_version;

use super::durable_file::{DRAFT, sync_folder, write_durably};
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
    /// Locks the folder while it is open. Empty if the folder cannot be written to.
    lock: OnceLock<File>,
    /// Why the latest state is not on disk.
    problem: Mutex<Option<String>>,
    /// The copies of components that stay, whatever state is being written.
    wanted: Mutex<Wanted>,
    /// True if a copy of a component was moved to its place, and its new name may not be on disk yet.
    has_moved: AtomicBool,
}

/// The copies of components that stay, by their digests.
#[derive(Debug, Default)]
struct Wanted {
    /// Those that the latest state names, which may not be written yet.
    named: BTreeSet<String>,
    /// Those that were kept after that state was made.
    kept: BTreeSet<String>,
}

const JOURNAL: &str = "plugins.json";
/// The folder of the copies of components, in the data folder.
const COMPONENTS: &str = "components";
/// The extension of the copies.
const WASM: &str = "wasm";

impl Journal {
    /// Opens the folder, and creates it if it is missing. If it cannot be written to, logs a warning; then it is only
    /// read, and a restart forgets new deployments.
    ///
    /// # Errors
    /// If another process uses the folder.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let this = Self {
            folder: folder.to_owned(),
            lock: OnceLock::new(),
            problem: Mutex::default(),
            wanted: Mutex::default(),
            has_moved: AtomicBool::new(false),
        };
        match lock(folder) {
            Ok(lock) => drop(this.lock.set(lock)),
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
    /// If the file cannot be read, is not a valid journal, or was written by a later version of this program.
    pub fn read(&self) -> Result<JournalState, JournalError> {
        let path = self.folder.join(JOURNAL);
        match read_regular(&path, u64::MAX) {
            Ok(bytes) => JournalState::parse(&bytes).map_err(|error| JournalError::Invalid { path, error }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(JournalState::default()),
            // The folder belongs to another user, or is not a folder. A warning was logged when it was opened.
            Err(error)
                if self.lock.get().is_none()
                    && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory) =>
            {
                Ok(JournalState::default())
            }
            Err(error) => Err(JournalError::Unreadable { path, error }),
        }
    }

    /// Removes what an earlier process left: drafts, and components that the state does not name. They could fill the
    /// disk, and then no state can be written.
    pub fn remove_leftovers(&self, state: &JournalState) {
        if self.lock.get().is_none() {
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

    /// The data folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Announces a state that will be written. The components that it names stay, also if an earlier state is written
    /// meanwhile.
    pub(super) fn announce(&self, state: &JournalState) {
        *self.wanted() = Wanted { named: digests(state), kept: BTreeSet::new() };
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the state, and removes the components that neither it nor the announced state names. A failure is logged once, until a state
    /// can be written again.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn write(&self, state: &JournalState) -> Result<(), JournalError> {
        let written = self.lock_again().and_then(|()| {
            let text = state.to_text().map_err(io::Error::other)?;
            // The components must be found under their names before a state names them.
            if self.has_moved.swap(false, SeqCst) {
                sync_folder(&self.component("")).inspect_err(|_| self.has_moved.store(true, SeqCst))?;
            }
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

    /// Locks the folder if it could not be locked before, for example because it was read-only.
    fn lock_again(&self) -> io::Result<()> {
        if self.lock.get().is_none() {
            let lock = lock(&self.folder).map_err(|error| match error {
                TryLockError::Error(error) => error,
                TryLockError::WouldBlock => io::Error::other("another process uses it"),
            })?;
            let _ = self.lock.set(lock);
        }
        Ok(())
    }

    /// Removes the components that a state does not name. A component that cannot be removed only wastes disk space.
    fn remove_unnamed(&self, state: &JournalState) {
        let named = digests(state);
        for file in fs::read_dir(self.folder.join(COMPONENTS)).into_iter().flatten().flatten() {
            let (path, name) = (file.path(), file.file_name());
            let digest = Path::new(&name).file_stem().unwrap_or_default().to_string_lossy();
            let wanted = self.wanted();
            let is_wanted = [&named, &wanted.named, &wanted.kept].iter().any(|digests| digests.contains(&*digest));
            if is_wanted && path.extension().is_some_and(|extension| extension == WASM) {
                continue;
            }
            // The lock is held, so that no change begins to use the copy meanwhile.
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
        }
    }

    /// Writes a copy of a component for [`Journal::keep_staged`]. `None` if it is there, or cannot be written.
    pub(super) fn stage(&self, artifact: &Artifact) -> Option<StagedCopy> {
        let digest = &*artifact.identity.digest;
        if self.lock.get().is_none() || self.component(digest).is_file() {
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
        let read = read_regular(&path, u64::MAX);
        let bytes = read.map_err(|error| JournalError::Unreadable { path: path.clone(), error })?;
        let artifact = Artifact::new(name, Some(&usable_version(&entry.version)), bytes.into())?;
        if *artifact.identity.digest != entry.digest {
            return Err(JournalError::Changed(path));
        }
        let manifest = match entry.manifest.as_str() {
            "" => Manifest::default(),
            text => Manifest::parse(text.to_owned(), &entry.manifest_path)?,
        };
        Ok(Release { artifact: artifact.stored_at(&path), manifest, source: entry.source(), at: entry.at })
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join(COMPONENTS).join(format!("{digest}.{WASM}"))
    }
}

/// The digests of the components that a state names.
fn digests(state: &JournalState) -> BTreeSet<String> {
    let plugins = state.plugins.values();
    let entries = plugins.flat_map(|plugin| plugin.serving.iter().chain(&plugin.candidate).chain(&plugin.previous));
    entries.map(|entry| entry.digest.clone()).collect()
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

fn lock(folder: &Path) -> Result<File, TryLockError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(COMPONENTS)).map_err(TryLockError::Error)?;
    let mut options = OpenOptions::new();
    // Opening a FIFO of this name would block otherwise.
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
    let file = options.open(folder.join("lock")).map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}
