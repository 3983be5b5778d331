//! The catalog: every plugin with its serving version, its canary, and its previous and rejected versions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::stage::StageCore;
use serde::Serialize;

use super::journal_state::{HandledFile, PluginRecord, VersionRecord};
pub use super::previous::{Place, PreviousVersion, UnreadVersion};
use super::release::{Release, ReleaseSource};

/// Maximum number of rejected versions of a plugin that are kept.
const MAX_REJECTED: usize = 5;
/// Maximum number of digests that are kept of versions that were rolled back and have no file in the folder.
const MAX_WITHDRAWN: usize = 20;

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
    /// Versions that served before, and that could not be read at the start. They stay in the journal.
    pub unread: Vec<UnreadVersion>,
    /// Why the version that served before the start is lost, if no other version took its place.
    pub lost: Option<String>,
    /// Why the reference of the configuration could not be pulled, if it is tried again.
    pub not_pulled: Option<NotPulled>,
    /// The latest rejected versions, the latest first.
    pub rejected: VecDeque<RejectedVersion>,
    /// Files and references that were handled.
    pub handled: BTreeMap<String, HandledFile>,
    /// The digests of versions that were rolled back, the latest first. No file deploys them again, whatever its name is.
    pub withdrawn: VecDeque<Arc<str>>,
    /// A note for the administrator, for example that the plugin's file is missing.
    pub note: Option<String>,
    /// The place that the serving version had among the previous versions, for an undo; `None` if it had none.
    pub place: Option<Place>,
    /// Another number after each change of the version that serves or is on canary. A process uses no number twice.
    pub revision: u64,
}

/// A reference that could not be pulled, because its registry could not be asked.
#[derive(Debug, Clone)]
pub struct NotPulled {
    /// The reason, in one sentence.
    pub reason: String,
    /// The revision of the plugin when the reference was requested. A later change of the plugin takes precedence.
    pub revision: u64,
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
    /// Its runs before it was rolled back.
    pub figures: VersionFigures,
}

/// The stage runs of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VersionFigures {
    /// Stage runs since start.
    pub runs: u64,
    /// Stage runs that ended in a trap, a memory limit or a passed deadline.
    pub failures: u64,
    /// Highest high-water mark in bytes since start.
    pub high_water: u64,
}

/// The files of a catalog that were handled or that serve. A file that is not among them was never seen.
pub fn known_files(catalog: &Catalog) -> BTreeSet<PathBuf> {
    catalog.values().flat_map(CatalogEntry::known_files).collect()
}

/// Returns true if a key of [`CatalogEntry::handled`] is a reference to a registry, not a path.
fn is_reference(what: &str) -> bool {
    what.starts_with("oci:")
}

impl CatalogEntry {
    /// The files that were handled or that serve.
    pub fn known_files(&self) -> BTreeSet<PathBuf> {
        let mut files: BTreeSet<_> =
            self.handled.keys().filter(|what| !is_reference(what)).map(PathBuf::from).collect();
        if let Some(ReleaseSource::File(path)) = self.serving.as_ref().map(|release| &release.source) {
            files.insert(path.clone());
        }
        files
    }

    /// Adds a rejected version.
    pub fn reject(&mut self, rejected: RejectedVersion) {
        self.rejected.retain(|other| other.identity.digest != rejected.identity.digest);
        self.rejected.push_front(rejected);
        self.rejected.truncate(MAX_REJECTED);
    }

    /// Makes a release the serving one. The release before it becomes the latest previous version, with its stages; at
    /// most `keep` previous versions stay.
    pub fn serve(&mut self, release: Arc<Release>, stages: Vec<Arc<StageCore>>, keep: usize) {
        let digest = Arc::clone(&release.artifact.identity.digest);
        let index = self.previous.iter().position(|it| *it.release.artifact.identity.digest == *digest);
        self.place = index.map(|index| Place { index, is_withdrawn: self.is_withdrawn(&digest) });
        self.readmit(&digest);
        self.begin_revision();
        self.unread.retain(|unread| *unread.record.digest != *digest);
        self.lost = None;
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
        self.previous.truncate(keep);
    }

    /// Notes that another version serves or is on canary.
    pub fn begin_revision(&mut self) {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        self.revision = LATEST.fetch_add(1, Relaxed) + 1;
        // A later change takes precedence.
        self.not_pulled = None;
    }

    /// Remembers that a version was rolled back.
    pub fn withdraw(&mut self, digest: &Arc<str>) {
        self.begin_revision();
        self.readmit(digest);
        self.withdrawn.push_front(Arc::clone(digest));
    }

    /// Forgets that a version was rolled back, because it was deployed explicitly.
    pub fn readmit(&mut self, digest: &str) {
        self.withdrawn.retain(|other| **other != *digest);
    }

    /// Returns true if a version was rolled back, and not deployed since.
    pub fn is_withdrawn(&self, digest: &str) -> bool {
        self.withdrawn.iter().any(|other| **other == *digest)
    }

    /// The versions that may run, and so may have figures: they serve, are on canary, or can be rolled back to.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        let releases = self.serving.iter().chain(&self.candidate);
        let releases = releases.chain(self.previous.iter().map(|previous| &previous.release));
        releases.map(|release| &release.artifact.identity).chain(&self.compiling)
    }

    /// Returns true if the bytes of a file were handled before, so that it is not a new release: it was touched,
    /// copied, moved, restored, or is found by another path. A restart decides in the same way. Other bytes in a known
    /// file are a new release, unless they were rolled back. Handled bytes are a new release in three cases: the
    /// manifest has changed, the version that serves has a new name, or a rejected release may be tried again.
    pub fn is_handled(&self, what: &str, release: &Release) -> bool {
        let identity = &release.artifact.identity;
        if self.is_withdrawn(&identity.digest) {
            return true;
        }
        let is_same = |handled: &HandledFile| *handled.digest == *identity.digest;
        let known_here = self.handled.get(what);
        let is_known = known_here.map_or_else(|| self.handled.values().any(is_same), is_same);
        let has_new_name = known_here.is_none()
            && self
                .serving
                .as_ref()
                .map(|it| &it.artifact.identity)
                .is_some_and(|serving| serving.digest == identity.digest && serving.version != identity.version);
        let is_changed = has_new_name || self.has_new_manifest(release);
        let is_retried = self.rejected.iter().any(|it| it.retry && it.identity.digest == identity.digest);
        is_known && !is_changed && !is_retried
    }

    /// Returns true if a release is the version on canary, or otherwise the one that serves, with another manifest.
    pub fn has_new_manifest(&self, release: &Release) -> bool {
        let is_it = |it: &&Arc<Release>| it.artifact.identity == release.artifact.identity;
        let current = [&self.candidate, &self.serving].into_iter().flatten().find(is_it);
        current.is_some_and(|current| current.manifest.text != release.manifest.text)
    }

    /// Forgets the handled files and references that no longer exist, and the versions of them that were rejected. A
    /// known version keeps its entry, so that it is not deployed again if its file comes back. Returns true if
    /// something was forgotten.
    pub fn forget_gone(
        &mut self,
        is_file_gone: impl Fn(&Path) -> bool,
        is_reference_gone: impl Fn(&str) -> bool,
    ) -> bool {
        let is_gone = |what: &str| match is_reference(what) {
            true => is_reference_gone(what),
            false => is_file_gone(Path::new(what)),
        };
        let before = (self.handled.len(), self.rejected.len(), self.withdrawn.len());
        if self.identities().next().is_none() {
            let is_kept = |it: &RejectedVersion| match ReleaseSource::parse(&it.source) {
                ReleaseSource::File(path) => !is_file_gone(&path),
                ReleaseSource::Oci(reference) => !is_reference_gone(&reference),
                ReleaseSource::Bundled | ReleaseSource::Http => true,
            };
            self.rejected.retain(is_kept);
        }
        let versions = self.identities().map(|identity| &identity.digest);
        let versions = versions.chain(self.rejected.iter().map(|rejected| &rejected.identity.digest));
        let known: BTreeSet<_> = versions.map(Arc::clone).collect();
        let is_present = |(what, handled): (&String, &HandledFile)| (!is_gone(what)).then(|| handled.digest.clone());
        let mut present: BTreeSet<_> = self.handled.iter().filter_map(is_present).collect();
        let in_folder = present.clone();
        // One entry of a version is enough, however often its file was renamed.
        self.handled.retain(|what, handled| {
            !is_gone(what) || (known.contains(&*handled.digest) && present.insert(handled.digest.clone()))
        });
        if self.identities().next().is_none() && self.handled.is_empty() {
            self.withdrawn.clear();
        }
        let mut without_file = 0;
        self.withdrawn.retain(|digest| {
            without_file += usize::from(!in_folder.contains(&**digest));
            in_folder.contains(&**digest) || without_file <= MAX_WITHDRAWN
        });
        before != (self.handled.len(), self.rejected.len(), self.withdrawn.len())
    }

    /// Returns true if nothing is left of the plugin.
    pub fn is_empty(&self) -> bool {
        let has_version = self.identities().next().is_some() || !self.unread.is_empty();
        !has_version && self.rejected.is_empty() && self.handled.is_empty()
    }

    /// Returns true if there is something to show. A retired plugin has only its handled files.
    pub fn is_known(&self) -> bool {
        self.serving.is_some() || self.compiling.is_some() || !self.rejected.is_empty()
    }

    /// The record for the journal. It leaves out the handled files of versions that may be tried again. It also leaves
    /// out the versions that have no copy on disk: if the serving version is one of them, a restart continues with the
    /// version before it, and finds its file again.
    pub fn record(&self) -> PluginRecord {
        let retried = self.rejected.iter().filter(|rejected| rejected.retry).map(|rejected| &rejected.identity);
        let lost = self.serving.iter().chain(&self.candidate).filter(|release| !release.is_kept());
        let lost = lost.map(|release| &release.artifact.identity);
        let again: BTreeSet<&str> = retried.chain(lost).map(|identity| &*identity.digest).collect();
        let handled = self.handled.iter().filter(|(_, handled)| !again.contains(&*handled.digest));
        let kept = |release: &&Arc<Release>| release.is_kept();
        let previous = self.previous.iter().map(|previous| &previous.release).filter(kept);
        let mut previous: Vec<_> = previous.map(|release| VersionRecord::of(release)).collect();
        for unread in &self.unread {
            let after = previous.iter().position(|it| unread.after.as_ref() == Some(&it.digest));
            previous.insert(after.unwrap_or(previous.len()), unread.record.clone());
        }
        let serving = match &self.serving {
            Some(lost) if !lost.is_kept() => {
                let before = previous.iter().position(|it| !self.is_withdrawn(&it.digest));
                before.map(|at| previous.remove(at))
            }
            serving => serving.as_ref().map(|release| VersionRecord::of(release)),
        };
        PluginRecord {
            serving,
            candidate: self.candidate.as_ref().filter(kept).map(|release| VersionRecord::of(release)),
            previous,
            handled: handled.map(|(what, handled)| (what.clone(), handled.clone())).collect(),
            withdrawn: self.withdrawn.iter().map(ToString::to_string).collect(),
        }
    }
}
