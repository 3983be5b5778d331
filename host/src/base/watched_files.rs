//! Files that are read again when they change.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::files::{ChangeTime, FileStat, look_at_file};

/// The metadata of a file; `None` if it cannot be read.
type Look = Option<(FileStat, ChangeTime)>;

/// Files, and their metadata at the last check.
#[derive(Debug)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Look>>,
}

impl WatchedFiles {
    /// Reads the metadata of the files. Call this before the files are read, so that no change is missed.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(look(&paths));
        Self { paths, seen }
    }

    /// The files.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns true if a file has changed since the last call.
    pub fn have_changed(&self) -> bool {
        let now = look(&self.paths);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, now.clone()) != now
    }
}

fn look(paths: &[PathBuf]) -> Vec<Look> {
    paths.iter().map(|path| look_at_file(path).ok().flatten()).collect()
}
