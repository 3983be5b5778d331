//! The folders and files that cannot be read or deployed now. Each is logged once, and once more when it can be read
//! or deployed again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::records::metrics::Metrics;

/// The folders and files that cannot be read now, with the reason.
#[derive(Debug, Default)]
pub struct Unreadable {
    logged: BTreeMap<PathBuf, String>,
}

impl Unreadable {
    /// Returns true if the path could not be read before either.
    pub fn is_logged(&self, path: &Path) -> bool {
        self.logged.contains_key(path)
    }

    /// Adds the result of a scan that has not ended: it says nothing about the paths that it does not name.
    pub fn add(&mut self, now: &BTreeMap<PathBuf, String>, metrics: &Metrics) {
        for (path, reason) in now {
            if !self.is_logged(path) {
                tracing::warn!(
                    "{}: {reason}; its last known state stays in use, and it is tried again",
                    path.display()
                );
                self.logged.insert(path.clone(), reason.clone());
            }
        }
        metrics.set_unreadable(self.logged.len(), !now.is_empty());
    }

    /// Sets the result of a scan.
    pub fn replace(&mut self, now: &BTreeMap<PathBuf, String>, metrics: &Metrics) {
        for path in self.logged.keys().filter(|path| !now.contains_key(*path)) {
            tracing::info!("{}: this problem is over", path.display());
        }
        self.logged.retain(|path, _| now.contains_key(path));
        self.add(now, metrics);
    }
}
