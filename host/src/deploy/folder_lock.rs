//! The lock of the data folder: only one process uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::base::files::FolderId;

/// The lock of a folder, once it could be taken.
#[derive(Debug)]
pub(super) struct FolderLock {
    folder: PathBuf,
    /// A folder inside of it, which is made, too.
    inner: &'static str,
    held: OnceLock<Held>,
    /// Held while the folder is being locked: a second lock of this process would look like one of another process.
    taking: Mutex<()>,
}

/// A locked folder.
#[derive(Debug)]
struct Held {
    /// Keeps the folder locked while it is open.
    _lock: File,
    /// The ids of the folder and of the one inside. They tell whether the folders are still at their paths.
    ids: [FolderId; 2],
}

impl FolderLock {
    pub(super) fn new(folder: &Path, inner: &'static str) -> Self {
        Self { folder: folder.to_owned(), inner, held: OnceLock::new(), taking: Mutex::default() }
    }

    /// Returns true if the folder was locked. Otherwise it could not be written to so far.
    pub(super) fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// Locks the folder, unless it is locked. Makes it if it is missing. `check` runs while the folder is locked, so that no
    /// other process changes what it finds; if it fails, the folder is unlocked again.
    ///
    /// # Errors
    /// If it cannot be written to, another process uses it, or the check fails.
    pub(super) fn take(&self, check: impl FnOnce() -> io::Result<()>) -> Result<(), TryLockError> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_held() {
            return Ok(());
        }
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700).create(self.folder.join(self.inner)).map_err(TryLockError::Error)?;
        let mut options = OpenOptions::new();
        // Opening a FIFO of this name would block otherwise.
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
        let file = options.open(self.folder.join("lock")).map_err(TryLockError::Error)?;
        file.try_lock()?;
        let id_of = |folder: &Path| id(folder).map_err(TryLockError::Error);
        let ids = [id_of(&self.folder)?, id_of(&self.folder.join(self.inner))?];
        check().map_err(TryLockError::Error)?;
        let _ = self.held.set(Held { _lock: file, ids });
        Ok(())
    }

    /// Checks that the locked folder and the one inside are still at their paths. What is written to another folder, for
    /// example to the one under a file system that was unmounted, would be lost.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check(&self) -> io::Result<()> {
        let Some(held) = self.held.get() else { return id(&self.folder).map(drop) };
        let inner = self.folder.join(self.inner);
        let folders = [(&self.folder, "its place".to_owned()), (&inner, format!("the place of `{}`", self.inner))];
        for ((folder, place), known) in folders.into_iter().zip(held.ids) {
            if id(folder)? != known {
                return Err(io::Error::other(format!(
                    "another folder is in {place} (was a file system mounted or unmounted?); put it back, or restart the \
                     server to use the folder that is there now"
                )));
            }
        }
        Ok(())
    }
}

/// The id of a folder. Read without a time limit, as everything that is written to these folders.
fn id(folder: &Path) -> io::Result<FolderId> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    fs::metadata(folder).map(|folder| (folder.dev(), folder.ino())).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_process_lock_a_folder_once() {
        let folder = std::env::temp_dir().join(format!("plimsoll-lock-{}", uuid::Uuid::new_v4()));
        let lock = FolderLock::new(&folder, "inner");
        let (checks, start) = (std::sync::atomic::AtomicU32::new(0), std::sync::Barrier::new(8));
        let check = || {
            checks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    start.wait();
                    lock.take(check).expect("locked");
                });
            }
        });
        assert_eq!(checks.into_inner(), 1);
        let other = FolderLock::new(&folder, "inner");
        assert!(matches!(other.take(|| Ok(())), Err(TryLockError::WouldBlock)));
        lock.check().expect("still there");
        fs::rename(folder.join("inner"), folder.join("away")).expect("renamed");
        fs::create_dir(folder.join("inner")).expect("made");
        lock.check().expect_err("another inner folder");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_check_that_fails_unlocks_the_folder_again() {
        let folder = std::env::temp_dir().join(format!("plimsoll-lock-{}", uuid::Uuid::new_v4()));
        let lock = FolderLock::new(&folder, "inner");
        let other = FolderLock::new(&folder, "inner");
        let check = || {
            // Nothing changes what is checked: the folder is locked.
            assert!(matches!(other.take(|| Ok(())), Err(TryLockError::WouldBlock)));
            Err(io::Error::other("not the one"))
        };
        assert!(matches!(lock.take(check), Err(TryLockError::Error(_))));
        assert!(!lock.is_held());
        other.take(|| Ok(())).expect("free");
        fs::remove_dir_all(folder).expect("removed");
    }
}
