//! Files that are read again when they change.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::files::{ChangeTime, FileStat, look_at_file};

/// What a look at a file shows; `None` if it cannot be looked at.
type Look = Option<(FileStat, ChangeTime)>;

/// Files, and what the last look at them showed.
#[derive(Debug)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Look>>,
}

impl WatchedFiles {
    /// Looks at the files. Call this before they are read, so that no change is missed.
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
