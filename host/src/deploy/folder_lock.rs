//! The lock of the data folder: only one process uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::base::files::FolderId;

/// The lock of a folder, once it could be taken.
#[derive(Debug)]
pub(super) struct FolderLock {
    folder: PathBuf,
    /// A folder inside of it, which is made, too.
    inner: &'static str,
    /// Keeps the folder locked while it is open. The id tells whether the folder is still at its path.
    held: OnceLock<(File, FolderId)>,
}

impl FolderLock {
    pub(super) fn new(folder: &Path, inner: &'static str) -> Self {
        Self { folder: folder.to_owned(), inner, held: OnceLock::new() }
    }

    /// Returns true if the folder was locked. Otherwise it could not be written to so far.
    pub(super) fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// Locks the folder. Makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be written to, or another process uses it.
    pub(super) fn take(&self) -> Result<(), TryLockError> {
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700).create(self.folder.join(self.inner)).map_err(TryLockError::Error)?;
        let mut options = OpenOptions::new();
        // Opening a FIFO of this name would block otherwise.
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
        let file = options.open(self.folder.join("lock")).map_err(TryLockError::Error)?;
        file.try_lock()?;
        let _ = self.held.set((file, self.id().map_err(TryLockError::Error)?));
        Ok(())
    }

    /// Checks that the locked folder is still at its path. What is written to another folder, for example to the one
    /// under a file system that was unmounted, would be lost.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check(&self) -> io::Result<()> {
        let now = self.id()?;
        match self.held.get() {
            Some((_, id)) if *id != now => Err(io::Error::other(
                "another folder is in its place (was a file system mounted or unmounted?); put it back, or restart the \
                 server to use the folder that is there now",
            )),
            _ => Ok(()),
        }
    }

    fn id(&self) -> io::Result<FolderId> {
        // Without a time limit, as everything that is written to this folder.
        fs::metadata(&self.folder).map(|folder| (folder.dev(), folder.ino()))
    }
}
