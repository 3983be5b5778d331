//! The folders and files that cannot be read or deployed now. Each is told once, and once more when it is over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::records::metrics::Metrics;

/// The folders and files that cannot be read now, with the reason.
#[derive(Debug, Default)]
pub struct Unreadable {
    told: BTreeMap<PathBuf, String>,
}

impl Unreadable {
    /// Returns true if the path could not be read before either.
    pub fn is_told(&self, path: &Path) -> bool {
        self.told.contains_key(path)
    }

    /// Adds the result of a scan that has not ended: it says nothing about the paths that it does not name.
    pub fn add(&mut self, now: &BTreeMap<PathBuf, String>, metrics: &Metrics) {
        for (path, reason) in now {
            if !self.is_told(path) {
                tracing::warn!(
                    "{}: {reason}; what was known of it stays as it is, and it is tried again",
                    path.display()
                );
                self.told.insert(path.clone(), reason.clone());
            }
        }
        metrics.set_unreadable(self.told.len(), !now.is_empty());
    }

    /// Sets the result of a scan.
    pub fn replace(&mut self, now: &BTreeMap<PathBuf, String>, metrics: &Metrics) {
        for path in self.told.keys().filter(|path| !now.contains_key(*path)) {
            tracing::info!("{}: this problem is over", path.display());
        }
        self.told.retain(|path, _| now.contains_key(path));
        self.add(now, metrics);
    }
}
