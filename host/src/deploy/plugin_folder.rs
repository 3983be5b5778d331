//! The plugin folder: finds component files that are new or changed, and completely written.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_runtime::component::artifact::is_truncated;

use super::file_fingerprint::FileFingerprint;
use super::folder_look::{ComponentFile, KnownFolders, Look, Reads, SeenFolders};
use crate::base::file_access::within_time;
use crate::base::files::open_regular;
use crate::config::Config;

/// A file that has not changed for this time is assumed to be completely written. If a writer pauses longer,
/// [`is_truncated`] or the next scan detects it.
const AT_REST: Duration = Duration::from_millis(25);
/// How long to wait for the rest of a file that ends inside a section, and how long other changes wait for a file that
/// keeps changing.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The result of one folder scan.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that are new or changed, and at rest.
    pub ready: Vec<ComponentFile>,
    /// Everything that was found.
    pub look: Look,
    /// True if a file is still being written, so that the folder must be scanned again soon.
    pub pending: bool,
}

/// Remembers which files were handled and which are still changing.
#[derive(Debug, Clone, Default)]
pub struct PluginFolder {
    handled: HashMap<PathBuf, FileFingerprint>,
    unsettled: HashMap<PathBuf, UnsettledFile>,
    /// Files that have changed for so long that nothing waits for them any more.
    changing: BTreeSet<PathBuf>,
    folders: SeenFolders,
}

/// A file that is being written, or has just been.
#[derive(Debug, Clone, Copy)]
struct UnsettledFile {
    seen: FileFingerprint,
    /// When it was first seen like this.
    since: Instant,
    /// When it was first seen to change.
    began: Instant,
    /// True if it was found at rest since then.
    has_rested: bool,
}

impl PluginFolder {
    /// Continues with the folders that the journal remembers.
    pub fn with_folders(folders: KnownFolders) -> Self {
        Self { folders: SeenFolders { ids: folders, ..SeenFolders::default() }, ..Self::default() }
    }

    /// The folders in which files were found, for the journal.
    pub fn folders(&self) -> &KnownFolders {
        &self.folders.ids
    }

    /// Makes the next look use a folder that has taken the place of another one, unless it is empty.
    pub fn accept_other_folders(&mut self) {
        self.folders.files.clear();
    }

    /// Marks a file as handled in the state in which it was found.
    pub fn mark_handled(&mut self, found: &ComponentFile) {
        self.unsettled.remove(&found.path);
        self.changing.remove(&found.path);
        self.handled.insert(found.path.clone(), found.fingerprint);
    }

    /// Makes the next scan find a file again.
    pub fn mark_unhandled(&mut self, found: &ComponentFile) {
        self.handled.remove(&found.path);
    }

    /// Returns true for a file that has changed for so long that nothing waits for it. It must not be read.
    pub fn is_changing(&self, path: &Path) -> bool {
        self.changing.contains(path)
    }

    /// Makes the looks until [`Self::end_reads`] read each file once.
    pub fn begin_reads(&mut self) {
        self.folders.reads = Some(Reads::default());
    }

    /// Makes each look read everything again.
    pub fn end_reads(&mut self) {
        self.folders.reads = None;
    }

    /// Looks at the folder and at the files that the configuration names. `known` are the files of earlier looks.
    pub fn look(&mut self, config: &Config, known: &BTreeSet<PathBuf>) -> Look {
        Look::take(config, known, &mut self.folders)
    }

    /// Looks, and finds the files that are new or changed. While a file is being written, all changes wait for it,
    /// because files that are written together are deployed together. They wait for a limited time: a file that keeps
    /// changing for longer counts as unreadable until it is at rest.
    pub fn scan(&mut self, config: &Config, known: &BTreeSet<PathBuf>) -> Scan {
        // A change that panicked may have left them.
        self.end_reads();
        let mut scan = Scan { look: self.look(config, known), ..Scan::default() };
        for found in scan.look.files.clone() {
            if self.handled.get(&found.path) == Some(&found.fingerprint) {
                continue;
            }
            let now = Instant::now();
            let new = UnsettledFile { seen: found.fingerprint, since: now, began: now, has_rested: false };
            let unsettled = self.unsettled.entry(found.path.clone()).or_insert(new);
            if unsettled.seen != found.fingerprint {
                *unsettled = if unsettled.has_rested { new } else { UnsettledFile { began: unsettled.began, ..new } };
            }
            let (rests, lasts) = (unsettled.since.elapsed(), unsettled.began.elapsed());
            if rests >= AT_REST && (rests >= LONGEST_WAIT || !is_file_truncated(config, &found)) {
                unsettled.has_rested = true;
                self.changing.remove(&found.path);
                scan.ready.push(found);
            } else if lasts < LONGEST_WAIT {
                scan.pending = true;
            } else {
                scan.look.unseen.insert(found.path.clone(), ChangesForLong.to_string());
                self.changing.insert(found.path.clone());
            }
        }
        self.handled.retain(|path, _| !scan.look.is_gone(path));
        self.unsettled.retain(|path, _| !scan.look.is_gone(path));
        self.changing.retain(|path| self.unsettled.contains_key(path));
        let is_used = |folder: &Path| known.iter().any(|path| path.starts_with(folder)) || scan.look.holds(folder);
        self.folders.ids.retain(|folder, _| is_used(folder));
        self.folders.files.retain(|folder, _| is_used(folder));
        scan
    }
}

/// Returns true if a file that has not changed since then is assumed to be completely written.
pub(super) fn is_at_rest(since: Instant) -> bool {
    since.elapsed() >= AT_REST
}

/// Returns true if a file has changed for so long that other changes no longer wait for it.
pub(super) fn is_for_long(began: Instant) -> bool {
    began.elapsed() >= LONGEST_WAIT
}

/// A file that keeps changing for too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "it has been changing for more than {} s; other changes no longer wait for it",
    LONGEST_WAIT.as_secs()
)]
pub(super) struct ChangesForLong;

/// A file that is larger than allowed is not truncated: it is rejected because of its size.
fn is_file_truncated(config: &Config, found: &ComponentFile) -> bool {
    let path = found.path.clone();
    found.fingerprint.size() <= config.deploy.max_plugin.as_u64()
        && within_time(&found.path, move || open_regular(&path).and_then(is_truncated)).unwrap_or(false)
}
