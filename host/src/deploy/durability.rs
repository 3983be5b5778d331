//! Makes changes survive a restart: writes the journal and the copies of components, and repeats writes that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::CatalogEntry;
use super::deployer::{ChangeError, Deployer};
use super::journal::Journal;
use super::journal_state::{JournalState, PluginRecord, VersionRecord};
use super::journal_writer::Ticket;
use super::release::Release;
use super::serving::Serving;

/// Why a restart does not remember the present state of a plugin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRemembered(String);

/// Whether a restart remembers a change; the disk may not have confirmed it yet.
pub struct Durability {
    /// The state with the change; `None` if deployments are not remembered at all.
    state: Option<Ticket>,
    /// Why there is no copy of the component.
    lost: Option<String>,
}

impl Durability {
    /// Waits until the disk has confirmed the change, for a bounded time. Call it without the lock of deployments.
    ///
    /// # Errors
    /// If a restart does not remember the change, or this is not known yet.
    pub async fn confirmed(self) -> Result<(), NotRemembered> {
        let Some(state) = self.state else { return Ok(()) };
        state.confirmed().await.map_err(NotRemembered)?;
        self.lost.map_or(Ok(()), |reason| Err(NotRemembered(reason)))
    }
}

impl Deployer {
    /// Whether a restart remembers the present state of a plugin.
    pub fn durability(&self, plugin: &str) -> Durability {
        Durability { state: self.writer.as_ref().map(|writer| writer.latest()), lost: self.lost_copies.reason(plugin) }
    }

    /// Keeps a copy of the component of a new release. If that is not possible, a restart forgets the release.
    ///
    /// # Errors
    /// If it is not possible, and `deploy.require_durable` is set.
    pub(super) async fn keep(&mut self, serving: &Serving, release: &mut Release) -> Result<(), ChangeError> {
        // A copy that is kept already must stay: the state below does not name it yet.
        let Some(journal) = self.journal.clone().filter(|_| !release.is_kept()) else { return Ok(()) };
        let is_required = self.config.deploy.require_durable;
        if is_required {
            // Fails before the release is compiled if nothing can be written at all.
            self.require_written(self.journal_state(serving), release).await?;
        }
        let staged = self.rehearsed.take_staged(&release.artifact.identity.digest);
        match journal.keep_staged(release.artifact.clone(), staged) {
            Ok(artifact) => release.artifact = artifact,
            Err(error) if is_required => {
                serving.records.metrics.record_journal(false);
                return Err(not_durable(release, error.to_string()));
            }
            // `write_journal` tries it again and reports it.
            Err(_) => {}
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

    /// Hands in the state for the journal, and writes the copies of components that could not be kept before. Also forgets
    /// the series of versions that are gone. Call it after every change.
    pub(super) fn write_journal(&self, serving: &Serving) {
        self.forget_series(serving);
        let (Some(journal), Some(writer)) = (&self.journal, &self.writer) else { return };
        let lost = keep_copies(journal, serving);
        writer.submit(self.journal_state(serving), lost.is_empty());
        self.lost_copies.set(lost);
    }

    /// Repeats the writes that failed.
    pub(super) fn retry_journal(&self, serving: &Serving) {
        let has_problem = self.journal.as_ref().is_some_and(|journal| journal.problem().is_some())
            || self.writer.as_ref().is_some_and(|writer| writer.is_behind());
        let is_due = (has_problem || !self.lost_copies.is_empty()) && self.lost_copies.is_retry_due();
        if is_due {
            self.write_journal(serving);
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

/// Writes copies of the components that have none. Returns the plugins for which that is not possible, with the reason.
fn keep_copies(journal: &Journal, serving: &Serving) -> BTreeMap<String, String> {
    let unkept: Vec<_> = {
        let plugins = serving.catalog();
        let releases = plugins.iter().flat_map(|(name, plugin)| {
            let releases = plugin.serving.iter().chain(&plugin.candidate);
            let releases = releases.chain(plugin.previous.iter().map(|previous| &previous.release));
            releases.map(move |release| (name.clone(), Arc::clone(release)))
        });
        releases.filter(|(_, release)| !release.is_kept()).collect()
    };
    let mut lost = BTreeMap::new();
    for (name, release) in unkept {
        match journal.keep(release.artifact.clone()) {
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
            Err(error) => drop(lost.insert(name, error.to_string())),
        }
    }
    lost
}
