//! Makes changes survive a restart: writes the journal and the copies of components, and repeats writes that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::panics::fault_point;

use super::catalog::CatalogEntry;
use super::deployer::{ChangeError, Deployer};
use super::journal::Journal;
use super::journal_state::{JournalState, PluginRecord, VersionRecord};
use super::journal_writer::JournalWriter;
use super::lost_copies::{LostCopies, Untried, Version};
use super::release::Release;
use super::serving::Serving;

/// Why a restart does not remember the present state of a plugin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRemembered(String);

/// Whether a restart remembers a change; the disk may not have confirmed it yet.
pub struct Durability {
    /// `None` if deployments are not remembered at all.
    writer: Option<Arc<JournalWriter>>,
    lost: Arc<LostCopies>,
    /// What a restart must find.
    versions: Vec<Version>,
}

impl Durability {
    /// Waits until the disk has confirmed the change, for a bounded time. Call it after the change, without the lock of
    /// deployments.
    ///
    /// # Errors
    /// If a restart does not remember the change, or this is not known yet.
    pub async fn confirmed(self) -> Result<(), NotRemembered> {
        let Some(writer) = self.writer else { return Ok(()) };
        // Asked first: a copy may be written while this waits for a state that does not name it.
        let lost = self.versions.iter().find_map(|version| self.lost.reason(version));
        writer.latest().confirmed().await.map_err(NotRemembered)?;
        lost.map_or(Ok(()), |reason| Err(NotRemembered(reason)))
    }
}

impl Deployer {
    /// Whether a restart remembers the present state of a plugin.
    pub fn durability(&self, serving: &Serving, plugin: &str) -> Durability {
        let versions = serving.catalog().get(plugin).map_or_else(Vec::new, |known| {
            let releases = known.serving.iter().chain(&known.candidate);
            releases.map(|release| version(plugin, release)).collect()
        });
        Durability { writer: self.writer.clone(), lost: Arc::clone(&self.lost_copies), versions }
    }

    /// Keeps a copy of the component of a new release. With `deploy.require_durable` it is at its place before the release
    /// serves, otherwise after the change ([`keep_copies`]).
    ///
    /// # Errors
    /// If that is not possible, and `deploy.require_durable` is set.
    pub(super) async fn keep(&mut self, serving: &Serving, release: &mut Release) -> Result<(), ChangeError> {
        // A copy that is kept already must stay: the state below does not name it yet.
        let Some(journal) = self.journal.clone().filter(|_| !release.is_kept()) else { return Ok(()) };
        let staged = self.rehearsed.take_staged(&release.artifact.identity.digest);
        if !self.config.deploy.require_durable {
            self.lost_copies.keep_staged(staged);
            return Ok(());
        }
        // Fails before the release is compiled if nothing can be written at all.
        self.require_written(self.journal_state(serving), release).await?;
        match journal.keep_staged(release.artifact.clone(), staged) {
            Ok(artifact) => release.artifact = artifact,
            Err(error) => {
                serving.records.metrics.record_journal(false);
                return Err(not_durable(release, error.to_string()));
            }
        }
        Ok(())
    }

    /// If `deploy.require_durable` is set, writes to the journal that a release is about to serve. If the process is
    /// killed now, the next start deploys it.
    ///
    /// # Errors
    /// If the journal cannot be written. Then the release must not serve.
    pub(super) async fn write_ahead(&self, serving: &Serving, release: &Release) -> Result<(), ChangeError> {
        if !self.config.deploy.require_durable {
            return Ok(());
        }
        let plugin = release.artifact.identity.name.to_string();
        let now = self.journal_state(serving);
        let mut ahead = now.clone();
        ahead.plugins.entry(plugin).or_default().candidate = Some(VersionRecord::of(release));
        let Some(writer) = &self.writer else { return Ok(()) };
        writer.submit_ahead(&now, ahead).confirmed().await.map_err(|reason| not_durable(release, reason))
    }

    /// Waits until a state is on disk. The lock of deployments is held, so this is bounded.
    async fn require_written(&self, state: JournalState, release: &Release) -> Result<(), ChangeError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        writer.submit(state, true).confirmed().await.map_err(|reason| not_durable(release, reason))
    }

    /// Hands in the state for the journal. If copies of components are missing that were not tried yet, the state is handed in
    /// after they were, by [`keep_copies`]. Also forgets the series of versions that are gone. Call it after every change.
    pub(super) fn write_journal(&self, serving: &Serving) {
        self.forget_series(serving);
        let Some(writer) = &self.writer else { return };
        let unkept = unkept(serving).iter().map(|(name, release)| version(name, release)).collect();
        if !self.lost_copies.note(&unkept) {
            writer.submit(self.journal_state(serving), unkept.is_empty());
        }
    }

    /// Repeats the writes that failed.
    pub(super) fn retry_journal(&self, serving: &Serving) {
        let has_problem = self.journal.as_ref().is_some_and(|journal| journal.problem().is_some())
            || self.writer.as_ref().is_some_and(|writer| writer.is_behind());
        let is_due = (has_problem || !self.lost_copies.is_empty()) && self.lost_copies.is_retry_due();
        if is_due {
            self.lost_copies.try_again();
            self.write_journal(serving);
        }
    }

    /// Writes the missing copies of components before anything is served, and hands in the state.
    pub(super) fn keep_first_copies(&self, serving: &Serving) {
        let untried = self.lost_copies.take_untried();
        if let Some(journal) = &self.journal {
            keep_copies(journal, serving, (&self.lost_copies, untried), || self.write_journal(serving));
        }
    }

    fn journal_state(&self, serving: &Serving) -> JournalState {
        let plugins = serving.catalog();
        let plugins = plugins.iter().map(|(name, plugin)| (name.clone(), CatalogEntry::record(plugin)));
        let mut plugins: BTreeMap<String, PluginRecord> = plugins.collect();
        for (name, release) in self.resuming.iter().filter(|(_, release)| release.is_kept()) {
            let (record, resumed) = (plugins.entry(name.clone()).or_default(), VersionRecord::of(release));
            let is_serving = record.serving.as_ref().is_some_and(|serving| serving.digest == resumed.digest);
            if !is_serving && record.candidate.is_none() {
                record.candidate = Some(resumed);
            }
        }
        plugins.retain(|_, record| *record != PluginRecord::default());
        JournalState { plugins, folders: self.folder.folders().clone() }
    }
}

fn not_durable(release: &Release, reason: String) -> ChangeError {
    ChangeError::NotDurable { plugin: release.artifact.identity.name.to_string(), reason }
}

/// The releases without a copy of their component, with their plugins.
fn unkept(serving: &Serving) -> Vec<(String, Arc<Release>)> {
    let plugins = serving.catalog();
    let releases = plugins.iter().flat_map(|(name, plugin)| {
        let releases = plugin.serving.iter().chain(&plugin.candidate);
        let releases = releases.chain(plugin.previous.iter().map(|previous| &previous.release));
        releases.map(move |release| (name.clone(), Arc::clone(release)))
    });
    releases.filter(|(_, release)| !release.is_kept()).collect()
}

fn version(plugin: &str, release: &Release) -> Version {
    (release.artifact.identity.digest.to_string(), plugin.to_owned())
}

/// Writes the copies of components that a change has noted. Call it without the lock of deployments: a disk may have stopped.
/// `hand_in` hands in the state that names them.
pub(super) fn keep_copies(
    journal: &Journal,
    serving: &Serving,
    (lost_copies, mut untried): (&LostCopies, Untried),
    hand_in: impl FnOnce(),
) {
    if untried.digests().is_empty() {
        return;
    }
    fault_point("copies");
    let _protected = journal.protect(untried.digests());
    let mut failed = BTreeMap::new();
    let mut missing = unkept(serving);
    missing.retain(|(name, release)| untried.has(&version(name, release)));
    for (name, release) in missing {
        let staged = untried.take_staged(&release.artifact.identity.digest);
        match journal.keep_staged(release.artifact.clone(), staged) {
            Ok(artifact) => {
                let kept = Arc::new(Release { artifact, ..(*release).clone() });
                let mut plugins = serving.catalog();
                let Some(plugin) = plugins.get_mut(&name) else { continue };
                let releases = plugin.serving.iter_mut().chain(&mut plugin.candidate);
                let releases = releases.chain(plugin.previous.iter_mut().map(|previous| &mut previous.release));
                for known in releases.filter(|known| Arc::ptr_eq(known, &release)) {
                    known.clone_from(&kept);
                }
            }
            Err(error) => drop(failed.insert(version(&name, &release), error.to_string())),
        }
    }
    lost_copies.set_tried(failed);
    untried.begin_handing_in();
    hand_in();
    drop(untried);
}
