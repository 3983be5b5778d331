//! The catalog: every plugin with its serving version, its canary, and its previous and rejected versions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::stage::StageCore;

use super::journal::{HandledFile, PluginRecord, VersionRecord};
use super::release::Release;

/// Maximum number of rejected versions of a plugin that are kept.
const MAX_REJECTED: usize = 5;

/// The plugins by name.
pub type Catalog = BTreeMap<String, CatalogEntry>;

/// The versions and the state of a plugin.
#[derive(Default)]
pub struct CatalogEntry {
    /// The version that serves, or would serve if a pipeline used the plugin.
    pub serving: Option<Arc<Release>>,
    /// The version on canary.
    pub candidate: Option<Arc<Release>>,
    /// The version that is being admitted.
    pub compiling: Option<Identity>,
    /// The versions that served before, the latest first.
    pub previous: VecDeque<PreviousVersion>,
    /// The latest rejected versions, the latest first.
    pub rejected: VecDeque<RejectedVersion>,
    /// Files and references that were handled.
    pub handled: BTreeMap<String, HandledFile>,
    /// A note for the administrator, for example that the plugin's file is missing.
    pub note: Option<String>,
}

/// A version that served before.
pub struct PreviousVersion {
    /// The version.
    pub release: Arc<Release>,
    /// Its stages, kept ready for a rollback.
    pub stages: Vec<Arc<StageCore>>,
}

/// A version that was rejected, or was rolled back by its canary.
#[derive(Clone)]
pub struct RejectedVersion {
    /// Name, version and digest; the digest is empty if the file could not be read.
    pub identity: Identity,
    /// Where it came from.
    pub source: String,
    /// The reason, in one sentence.
    pub reason: String,
    /// When it was rejected.
    pub at: SystemTime,
    /// True if the next start or a new configuration may try it again. A version that was rolled back is not tried
    /// again.
    pub retry: bool,
}

impl CatalogEntry {
    /// Adds a rejected version.
    pub fn reject(&mut self, rejected: RejectedVersion) {
        self.rejected.retain(|other| other.identity.digest != rejected.identity.digest);
        self.rejected.push_front(rejected);
        self.rejected.truncate(MAX_REJECTED);
    }

    /// Makes a release the serving one. The release before it becomes the latest previous version, with its stages; at
    /// most `keep` previous versions stay. Returns the identities of the versions that were dropped.
    pub fn serve(&mut self, release: Arc<Release>, stages: Vec<Arc<StageCore>>, keep: usize) -> Vec<Identity> {
        let digest = Arc::clone(&release.artifact.identity.digest);
        if let Some(old) = self.serving.replace(release) {
            self.previous.push_front(PreviousVersion { release: old, stages });
        }
        // Each version is listed once: the serving version is not a previous one, and no previous version is repeated.
        let mut known = vec![digest];
        self.previous.retain(|previous| {
            let digest = &previous.release.artifact.identity.digest;
            let new = !known.contains(digest);
            known.push(Arc::clone(digest));
            new
        });
        let gone = self.previous.drain(keep.min(self.previous.len())..);
        gone.map(|previous| previous.release.artifact.identity.clone()).collect()
    }

    /// Returns true if there is something to show. A retired plugin has only its handled files.
    pub fn is_known(&self) -> bool {
        self.serving.is_some() || self.compiling.is_some() || !self.rejected.is_empty()
    }

    /// The record for the journal. It leaves out the handled files of versions that may be tried again.
    pub fn record(&self) -> PluginRecord {
        let again: Vec<_> =
            self.rejected.iter().filter(|rejected| rejected.retry).map(|rejected| &*rejected.identity.digest).collect();
        let handled = self.handled.iter().filter(|(_, handled)| !again.contains(&&*handled.digest));
        PluginRecord {
            serving: self.serving.as_deref().map(VersionRecord::of),
            candidate: self.candidate.as_deref().map(VersionRecord::of),
            previous: self.previous.iter().map(|previous| VersionRecord::of(&previous.release)).collect(),
            handled: handled.map(|(what, handled)| (what.clone(), handled.clone())).collect(),
        }
    }
}
