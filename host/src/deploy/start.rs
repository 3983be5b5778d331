//! The deployment at start. Canaries that a restart or a new configuration interrupted begin again.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::engine::Runtime;

use super::canary::CanaryVerdict;
use super::catalog::{Catalog, CatalogEntry, known_files};
use super::deployer::{Deployer, candidates};
use super::journal::{Journal, JournalError};
use super::journal_state::JournalState;
use super::journal_writer::JournalWriter;
use super::pipeline_builder::PipelineBuilder;
use super::plugin_folder::PluginFolder;
use super::pull::{pull_all, wanted};
use super::rehearsed::Rehearsed;
use super::release::Release;
use super::serving::{Route, Served, Serving};
use super::unreadable::Unreadable;
use crate::base::address_space;
use crate::base::oci::stored_model::remove_others;
use crate::config::{Config, ConfigError};
use crate::records::Records;

/// Why a canary ends with its configuration.
const ORPHANED: &str = "the configuration has no canary for it any more, and its canary was not decided; deploy it again to \
                        serve it";

impl Deployer {
    /// Builds everything that the configuration names. Each plugin gets its newest release, or the one that served
    /// before if the newest is rejected. If `remembers` is true, the journal is read and later written.
    ///
    /// # Errors
    /// If something cannot be served with any release, the journal cannot be opened, or the copy of a component that served
    /// cannot be read.
    pub async fn start(
        runtime: &Runtime,
        config: &Config,
        remembers: bool,
        records: &Arc<Records>,
    ) -> Result<(Self, Catalog, Served), ConfigError> {
        let at_journal = |error: JournalError| ConfigError::new(&config.path, "", error);
        let journal =
            if remembers { Some(Arc::new(Journal::open(&config.data_dir()).map_err(at_journal)?)) } else { None };
        let state = journal.as_ref().map_or_else(|| Ok(JournalState::default()), |journal| journal.read());
        let state = state.map_err(at_journal)?;
        if let Some(journal) = &journal {
            journal.check_copies(&state).map_err(at_journal)?;
            journal.remove_leftovers(&state);
        }
        let builder = PipelineBuilder::new(runtime, config, records, remembers).map_err(|error| {
            let reason = format!("the engine does not start: {error:#}{}", address_space::hint());
            ConfigError::new(&config.path, "", reason)
        })?;
        let folder = PluginFolder::with_folders(state.folders.clone());
        let mut this = Self {
            config: Arc::new(config.clone()),
            builder,
            writer: journal.clone().map(|journal| Arc::new(JournalWriter::new(journal, Arc::clone(records)))),
            journal,
            staging: None,
            folder,
            unreadable: Unreadable::default(),
            lost_copies: Arc::default(),
            resuming: BTreeMap::new(),
            unloaded: BTreeMap::new(),
            rehearsed: Rehearsed::default(),
            is_rehearsal: false,
        };
        let mut catalog = this.catalog_from_journal(&state).map_err(at_journal)?;
        this.builder.progress().begin_start(config);
        this.rehearsed.pulled = pull_all(config, wanted(config, &catalog), config.model_references()).await;
        Arc::make_mut(&mut this.config).pulled.failures.clone_from(&this.rehearsed.pulled.models);
        if remembers {
            remove_others(&config.models_dir(), &config.model_references());
        }
        let config = &this.config.clone();
        // A candidate is compared with what serves, so the code of both must be as good.
        if catalog.values().any(|plugin| plugin.candidate.is_some()) {
            this.builder.preparer().optimise_now().await;
        }
        let pipelines = this.select(config, &mut catalog).await?;
        this.builder.progress().end_start();
        this.rehearsed = Rehearsed::default();
        let routes = pipelines.into_iter().map(|(name, stable)| (name, Route::new(stable))).collect();
        Ok((this, catalog, Served { routes, unloaded: BTreeMap::new() }))
    }

    /// Completes the start: marks handled files, resumes canaries and writes the journal.
    pub async fn finish_start(&mut self, serving: &Serving) {
        let known = known_files(&serving.catalog());
        for found in self.folder.look(&self.config, &known).files {
            let is_handled = |plugin: &CatalogEntry| {
                let handled = plugin.handled.get(&*found.path.display().to_string());
                handled.is_some_and(|handled| handled.fingerprint == found.fingerprint)
            };
            if serving.catalog().get(&found.name).is_some_and(is_handled) {
                self.folder.mark_handled(&found);
            }
        }
        self.resume_canaries(serving, &[], None).await;
        self.rehearsed = Rehearsed::default();
        self.write_journal(serving);
        self.keep_first_copies(serving);
        self.flush().await;
    }

    /// Waits until the disk has confirmed the latest state, for a bounded time. A state that cannot be written is logged.
    async fn flush(&self) {
        if let Some(writer) = &self.writer
            && let Err(reason) = writer.latest().confirmed().await
        {
            tracing::warn!("the state after the start is not on disk: {reason}");
        }
    }

    /// Restarts the canaries that a restart or a new configuration interrupted, except those that have continued. `before` is
    /// what was served until now.
    pub(super) async fn resume_canaries(&mut self, serving: &Serving, continued: &[String], before: Option<&Served>) {
        self.end_orphaned_canaries(serving, before);
        let waiting: Vec<_> = serving
            .catalog()
            .iter_mut()
            .filter(|(name, _)| !continued.contains(name))
            .filter_map(|(_, plugin)| plugin.candidate.take())
            .collect();
        self.resuming = waiting.iter().map(|it| (it.artifact.identity.name.to_string(), Arc::clone(it))).collect();
        let waiting: Vec<_> = waiting.iter().map(|release| Release::clone(release)).collect();
        for release in waiting {
            self.resume_canary(serving, release, "start").await;
        }
    }

    /// Rejects the candidates for which no pipeline has a canary any more. Nothing would decide if they may serve. The other
    /// servers of a fleet follow: otherwise they could promote a version that this one has rejected.
    fn end_orphaned_canaries(&self, serving: &Serving, before: Option<&Served>) {
        for (name, candidate) in candidates(serving) {
            if !self.users_with_canary(&name).is_empty() {
                continue;
            }
            if let Err(error) = self.end_canary(serving, &name, ORPHANED, "configuration") {
                tracing::warn!(plugin = name, "{error}");
                continue;
            }
            let routes = before.into_iter().flat_map(|before| before.routes.values());
            let ended = routes.filter_map(|route| Some((route.clone(), route.canary.clone()?)));
            let ended: Vec<_> = ended.filter(|(_, canary)| canary.is_of(&candidate.artifact.identity)).collect();
            serving.remember_decision(&ended, &CanaryVerdict::RollBack(ORPHANED.to_owned()));
        }
    }

    /// Begins a canary again. If the host has no room for it now, or a pipeline has another canary, its candidate stays, and
    /// the next scan tries it again.
    pub(super) async fn resume_canary(&mut self, serving: &Serving, release: Release, by: &str) {
        let name = release.artifact.identity.name.to_string();
        let kept = Arc::new(release.clone());
        self.resuming.insert(name.clone(), Arc::clone(&kept));
        let result = self.deploy(serving, release, by).await;
        self.resuming.remove(&name);
        if let Err(error) = result {
            tracing::warn!(plugin = name, "cannot resume the canary: {error}");
            if error.is_temporary() {
                serving.catalog().entry(name).or_default().candidate = Some(kept);
            }
            self.write_journal(serving);
        }
    }

    /// The candidates whose canary could not begin again, because the host had no room for it, or a pipeline had another one.
    pub(super) fn waiting_canaries(&self, serving: &Serving) -> Vec<Arc<Release>> {
        let served = serving.served.load();
        let runs = |candidate: &Release| {
            let mut canaries = served.routes.values().filter_map(|route| route.canary.as_ref());
            canaries.any(|canary| canary.is_of(&candidate.artifact.identity))
        };
        let mut waiting = candidates(serving);
        // The candidate of an unloaded pipeline has no canary either, and waits for the pipeline.
        let has_pipeline = |name: &str| {
            self.config.pipelines.values().any(|pipeline| pipeline.canary.is_some() && pipeline.uses(name))
        };
        let may_begin = |candidate: &Release| self.check_change(serving, candidate).is_ok();
        waiting.retain(|(name, candidate)| !runs(candidate) && has_pipeline(name) && may_begin(candidate));
        waiting.into_iter().map(|(_, candidate)| candidate).collect()
    }
}
