//! Makes changes survive a restart: writes the journal and the copies of components, and repeats writes that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::CatalogEntry;
use super::deployer::{ChangeError, Deployer};
use super::journal::JournalError;
use super::journal_state::{JournalState, PluginRecord, VersionRecord};
use super::release::Release;
use super::serving::Serving;

/// Why a restart does not remember the present state of a plugin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRemembered(String);

impl Deployer {
    /// Whether a restart remembers the present state of a plugin.
    ///
    /// # Errors
    /// If it does not.
    pub fn durability(&self, plugin: &str) -> Result<(), NotRemembered> {
        let problem = self.journal.as_ref().and_then(|journal| journal.problem());
        match problem.or_else(|| self.lost_copies.reason(plugin)) {
            Some(reason) => Err(NotRemembered(reason)),
            None => Ok(()),
        }
    }

    /// Keeps a copy of the component of a new release. If that is not possible, a restart forgets the release.
    ///
    /// # Errors
    /// If it is not possible, and `deploy.require_durable` is set.
    pub(super) fn keep(&mut self, serving: &Serving, release: &mut Release) -> Result<(), ChangeError> {
        // A copy that is kept already must stay: the write below would remove it, because no state names it yet.
        let Some(journal) = self.journal.clone().filter(|_| !release.is_kept()) else { return Ok(()) };
        let is_required = self.config.deploy.require_durable;
        let not_durable = |error: JournalError| {
            serving.records.metrics.record_journal(false);
            let plugin = release.artifact.identity.name.to_string();
            ChangeError::NotDurable { plugin, reason: error.to_string() }
        };
        if is_required {
            // Fails before the release is compiled if nothing can be written at all.
            journal.write(&self.journal_state(serving)).map_err(not_durable)?;
        }
        let staged = self.rehearsed.take_staged(&release.artifact.identity.digest);
        match journal.keep_staged(release.artifact.clone(), staged) {
            Ok(artifact) => release.artifact = artifact,
            Err(error) if is_required => return Err(not_durable(error)),
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
    pub(super) fn write_ahead(&self, serving: &Serving, release: &Release) -> Result<(), ChangeError> {
        let Some(journal) = self.journal.as_ref().filter(|_| self.config.deploy.require_durable) else { return Ok(()) };
        let plugin = release.artifact.identity.name.to_string();
        let mut state = self.journal_state(serving);
        state.plugins.entry(plugin.clone()).or_default().candidate = Some(VersionRecord::of(release));
        journal.write(&state).map_err(|error| {
            serving.records.metrics.record_journal(false);
            ChangeError::NotDurable { plugin, reason: error.to_string() }
        })
    }

    /// Writes the journal, and the copies of components that could not be kept before. Also forgets the series of
    /// versions that are gone. Call it after every change.
    pub(super) fn write_journal(&self, serving: &Serving) {
        self.forget_series(serving);
        let Some(journal) = &self.journal else { return };
        let mut lost = BTreeMap::new();
        for (name, plugin) in serving.catalog().iter_mut() {
            let releases = plugin.serving.iter_mut().chain(&mut plugin.candidate);
            let releases = releases.chain(plugin.previous.iter_mut().map(|previous| &mut previous.release));
            for release in releases.filter(|release| !release.is_kept()) {
                match journal.keep(release.artifact.clone()) {
                    Ok(artifact) => *release = Arc::new(Release { artifact, ..(**release).clone() }),
                    Err(error) => drop(lost.insert(name.clone(), error.to_string())),
                }
            }
        }
        let is_written = journal.write(&self.journal_state(serving)).is_ok();
        serving.records.metrics.record_journal(is_written && lost.is_empty());
        self.lost_copies.set(lost);
    }

    /// Repeats the writes that failed.
    pub(super) fn retry_journal(&self, serving: &Serving) {
        let has_problem = self.journal.as_ref().is_some_and(|journal| journal.problem().is_some());
        let is_due = (has_problem || !self.lost_copies.is_empty()) && self.lost_copies.is_retry_due();
        if is_due {
            self.write_journal(serving);
        }
    }

    fn journal_state(&self, serving: &Serving) -> JournalState {
        let plugins = serving.catalog();
        let plugins = plugins.iter().map(|(name, plugin)| (name.clone(), CatalogEntry::record(plugin)));
        let plugins = plugins.filter(|(_, record)| *record != PluginRecord::default()).collect();
        JournalState { plugins, folders: self.folder.folders().clone() }
    }
}
