//! The digests of the copies of components that stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::deploy::journal_state::JournalState;

/// The copies of components that stay, by their digests.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Those that the latest state names, which may not be written yet.
    pub(super) named: BTreeSet<String>,
    /// Those that were kept after that state was made.
    pub(super) kept: BTreeSet<String>,
    /// Those that are being written beside the changes, until a state names them, and by how many changes.
    pub(super) protected: BTreeMap<String, usize>,
    /// Those that are being removed now.
    pub(super) removed: BTreeSet<String>,
    /// True if there may be copies that are not wanted any more.
    pub(super) has_unwanted: bool,
}

impl Wanted {
    /// Those of an earlier process may be unwanted.
    pub(super) fn new() -> Self {
        Self { has_unwanted: true, ..Self::default() }
    }

    /// Sets what is wanted from now on.
    pub(super) fn set(&mut self, named: BTreeSet<String>, kept: BTreeSet<String>) {
        let is_wanted = |digest: &&String| named.contains(*digest) || kept.contains(*digest);
        self.has_unwanted |= !self.named.iter().chain(&self.kept).all(|digest| is_wanted(&digest));
        (self.named, self.kept) = (named, kept);
    }
}

/// The digests of the components that a state names and that have copies.
pub(super) fn digests(state: &JournalState) -> BTreeSet<String> {
    let plugins = state.plugins.values();
    let entries = plugins.flat_map(|plugin| plugin.serving.iter().chain(&plugin.candidate).chain(&plugin.previous));
    entries.filter(|entry| !entry.is_bundled()).map(|entry| entry.digest.clone()).collect()
}
