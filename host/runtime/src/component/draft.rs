//! Drafts: files that are written completely before they get their name.
//!
//! A draft is locked while its process lives. So another process that shares the folder can distinguish it from a draft
//! that a killed process left, which only takes space. Process ids cannot do that: processes in different containers may
//! have the same one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::identity::hex;

/// The extension of drafts.
const EXTENSION: &str = "tmp";

/// A draft of a file. It is removed on drop, unless it was published.
pub(super) struct Draft {
    path: PathBuf,
    /// Locked.
    file: File,
    is_published: bool,
}

impl Draft {
    /// Creates a draft of the file at `path`, in the same folder.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        // Another process may remove the draft before it is locked.
        const TRIES: usize = 10;
        for _ in 0..TRIES {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let path = path.with_extension(format!("{}.{EXTENSION}", hex(&random)));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            let draft = Self { path, file, is_published: false };
            // If the file system has no locks, no process removes drafts.
            let _ = draft.file.lock();
            if draft.file.metadata()?.nlink() > 0 {
                return Ok(draft);
            }
        }
        Err(io::Error::other("another process removes the drafts"))
    }

    /// Writes bytes to the end.
    pub(super) fn write(mut self, parts: &[&[u8]]) -> io::Result<Self> {
        for part in parts {
            self.file.write_all(part)?;
        }
        Ok(self)
    }

    /// Waits until the bytes are on disk.
    pub(super) fn sync(self) -> io::Result<Self> {
        self.file.sync_all()?;
        Ok(self)
    }

    /// Gives the draft its name. A file of this name is replaced.
    pub(super) fn publish(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the drafts of processes that died.
pub(super) fn remove_dead_drafts(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_draft = path.extension().is_some_and(|extension| extension == EXTENSION);
        // Opened for writing, because some network file systems lock only such files.
        let is_dead = || OpenOptions::new().write(true).open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if is_draft && is_dead() {
            let _ = fs::remove_file(&path);
        }
    }
}
