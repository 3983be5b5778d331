//! The state that is kept across restarts: which version of each plugin serves, which versions served before, and which
//! files were already handled. Copies of the components are stored next to the journal, named by their digests.
//!
//! A change is appended to the journal file ([`super::journal_log`]), after the component that it names is on disk. Now and
//! then, and first in each process, the file is replaced by one with the whole state, by an atomic rename. If the process
//! is killed, the file has the state from before or after a change, never a partial one.
//!
//! A folder that cannot be written to is still read. Then changes are not durable: [`Journal::problem`] has the reason
//! until a later write succeeds.

use std::fs::{self, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use plimsoll_runtime::identity::digest;

use super::durable_file::{DRAFT, sync_folder};
use super::folder_lock::FolderLock;
pub use super::journal_error::JournalError;
use super::journal_file::{JournalFile, MAX_JOURNAL};
use super::journal_log::JournalLog;
use super::journal_state::JournalState;
use super::staged_copy::remove_staged;
use crate::base::files::read_regular;
use crate::config::admin::TOKEN_FILE;

mod copies;
mod wanted;
mod wanted_digests;

use wanted_digests::{Wanted, digests};

/// The folder of deployments, locked for this process.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    lock: FolderLock,
    /// The digest of the journal that was read; `None` if there was none.
    read: OnceLock<Option<String>>,
    /// Why the latest state is not on disk.
    problem: Mutex<Option<String>>,
    /// The copies of components that stay, whatever state is being written.
    wanted: Mutex<Wanted>,
    /// Notified when a copy was removed.
    is_removed: Condvar,
    /// True if a copy of a component was moved to its place, and its new name may not be on disk yet.
    has_moved: AtomicBool,
    /// True once this process has written a journal.
    has_begun: AtomicBool,
    /// The journal file, once this process has written it. Locked while it is being written.
    file: Mutex<Option<JournalFile>>,
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
            lock: FolderLock::new(folder, COMPONENTS),
            read: OnceLock::new(),
            problem: Mutex::default(),
            wanted: Mutex::new(Wanted::new()),
            is_removed: Condvar::new(),
            has_moved: AtomicBool::new(false),
            has_begun: AtomicBool::new(false),
            file: Mutex::default(),
        };
        warn_of_owner(folder);
        match this.lock.take(|| Ok(())) {
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
        let Some(bytes) = bytes else { return Ok(JournalState::default()) };
        match JournalLog::parse(&bytes) {
            Ok(JournalLog { state, dropped: 0 }) => Ok(state),
            Ok(JournalLog { state, dropped }) => {
                tracing::warn!(
                    "{}: the last change is not complete and is dropped ({dropped} bytes). The process or the machine stopped \
                     while it was being written, so no reply has said that it is durable; if something else cut the file, \
                     restore it from a backup",
                    path.display()
                );
                Ok(state)
            }
            Err(error) => Err(JournalError::Invalid { path, error }),
        }
    }

    /// The content of the journal; `None` if there certainly is none.
    fn read_bytes(&self) -> io::Result<Option<Vec<u8>>> {
        match read_regular(&self.folder.join(JOURNAL), MAX_JOURNAL) {
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
        // The lock shows that no other process is writing. Other files may be somebody else's.
        for file in [JOURNAL, TOKEN_FILE] {
            let _ = fs::remove_file(self.folder.join(file).with_extension(DRAFT));
        }
        remove_staged(&self.folder);
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

    /// Writes the state, and removes the components that neither it nor the announced state names. A failure is logged
    /// once, until a state can be written again.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn write(&self, state: &JournalState) -> Result<(), JournalError> {
        let written = self.lock_again().and_then(|()| {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            // The components must be found under their names before a state names them.
            if self.has_moved.swap(false, SeqCst) {
                sync_folder(&self.component("")).inspect_err(|_| self.has_moved.store(true, SeqCst))?;
            }
            self.write_file(&mut file, state)
        });
        match written {
            Ok(()) => {
                if self.set_problem(None).is_some() {
                    tracing::info!("the journal of deployments is written again; a restart forgets nothing");
                }
                if std::mem::take(&mut self.wanted().has_unwanted) {
                    self.remove_unnamed(state);
                }
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

    /// Appends the change to a state, or writes the file anew.
    fn write_file(&self, file: &mut Option<JournalFile>, state: &JournalState) -> io::Result<()> {
        let path = self.folder.join(JOURNAL);
        if let Some(open) = file
            && open.append(&path, state)?
        {
            if open.is_long() {
                match JournalFile::create(&path, state) {
                    Ok(new) => *open = new,
                    // The change is on disk, so this has time.
                    Err(error) => {
                        tracing::warn!("{} grows, because it cannot be written anew: {error}", path.display());
                        open.postpone();
                    }
                }
            }
            return Ok(());
        }
        *file = None;
        *file = Some(JournalFile::create(&path, state)?);
        self.has_begun.store(true, SeqCst);
        Ok(())
    }

    /// Writes the file anew if it has changes, at the end of the process: an earlier version of this program reads only a
    /// state. If that fails, the file stays as it is; so does another file that someone put in its place.
    pub(super) fn write_without_changes(&self) {
        let path = self.folder.join(JOURNAL);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = file.as_mut().filter(|open| open.has_changes() && open.is_at(&path))
            && let Ok(new) = JournalFile::create(&path, open.state())
        {
            *open = new;
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
        let check = || {
            let now = self.read_bytes()?.as_deref().map(digest);
            if self.read.get().map_or(now.is_some(), |read| *read != now) {
                return Err(io::Error::other(
                    "the journal in it is not the one that was read at the start; restart the server to use it",
                ));
            }
            self.check_copies(&JournalState::default()).map_err(io::Error::other)
        };
        self.lock.take(check).map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another process uses it"),
        })
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join(COMPONENTS).join(format!("{digest}.{WASM}"))
    }
}

/// Warns if a folder belongs to another user than this one and root.
fn warn_of_owner(folder: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let owner = fs::metadata(folder).map(|folder| folder.uid());
    if let Some(owner) = owner.ok().filter(|owner| *owner != own && *owner != 0) {
        tracing::warn!(
            "the data folder {0} belongs to the user {owner}, who can change which versions serve; if that is not intended, \
             remove it, or run `chown -R {own} {0}`",
            folder.display()
        );
    }
}

/// Returns true if a name begins as those of copies do.
fn starts_with_digest(name: &str) -> bool {
    name.as_bytes().get(..64).is_some_and(|digest| digest.iter().all(u8::is_ascii_hexdigit))
}

fn has_extension(path: &Path, expected: &str) -> bool {
    path.extension().is_some_and(|extension| extension == expected)
}
