//! The deployment at start, and the change to a new configuration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use plimsoll_runtime::engine::Runtime;

use super::catalog::{Catalog, CatalogEntry, PreviousVersion, known_files};
use super::deployer::{ChangeError, Deployer, candidates};
use super::journal::{Journal, JournalError};
use super::journal_state::{JournalState, VersionRecord};
use super::lost_copies::LostCopies;
use super::needed::needed;
use super::pipeline_builder::PipelineBuilder;
use super::plugin_folder::PluginFolder;
use super::rehearsed::Rehearsed;
use super::release::Release;
use super::serving::{Route, Served, Serving};
use super::unreadable::Unreadable;
use crate::base::address_space;
use crate::config::{self, Config, ConfigError};
use crate::records::Records;

impl Deployer {
    /// Builds everything that the configuration names. Each plugin gets its newest release, or the one that served
    /// before if the newest is rejected. If `remembers` is true, the journal is read and later written.
    ///
    /// # Errors
    /// If something cannot be served with any release, or the journal cannot be opened.
    pub async fn start(
        runtime: &Runtime,
        config: &Config,
        remembers: bool,
        records: &Records,
    ) -> Result<(Self, Catalog, Served), ConfigError> {
        let at_journal = |error: JournalError| ConfigError::new(&config.path, "", error);
        let journal = if remembers { Some(Journal::open(&config.data_dir()).map_err(at_journal)?) } else { None };
        let state = journal.as_ref().map_or_else(|| Ok(JournalState::default()), Journal::read);
        let state = state.map_err(at_journal)?;
        if let Some(journal) = &journal {
            journal.remove_leftovers(&state);
        }
        let builder = PipelineBuilder::new(runtime, config, records, remembers).map_err(|error| {
            let reason = format!("the engine does not start: {error:#}{}", address_space::hint());
            ConfigError::new(&config.path, "", reason)
        })?;
        let folder = PluginFolder::with_folders(state.folders.clone());
        let mut this = Self {
            config: config.clone(),
            builder,
            journal,
            folder,
            unreadable: Unreadable::default(),
            lost_copies: LostCopies::default(),
            unloaded: BTreeMap::new(),
            rehearsed: Rehearsed::default(),
            is_rehearsal: false,
        };
        let mut catalog = this.catalog_from_journal(&state);
        this.builder.progress().begin_start(config);
        let pipelines = this.select(config, &mut catalog).await?;
        this.builder.progress().end_start();
        this.rehearsed = Rehearsed::default();
        let routes = pipelines.into_iter().map(|(name, stable)| (name, Route::new(stable))).collect();
        Ok((this, catalog, Served { routes, unloaded: BTreeSet::new() }))
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
        self.resume_canaries(serving, &[]).await;
        self.rehearsed = Rehearsed::default();
        self.write_journal(serving);
    }

    /// Restarts the canaries that a restart or a new configuration interrupted, except those that have continued.
    async fn resume_canaries(&mut self, serving: &Serving, continued: &[String]) {
        let waiting: Vec<_> = serving
            .catalog()
            .iter_mut()
            .filter(|(name, _)| !continued.contains(name))
            .filter_map(|(_, plugin)| plugin.candidate.take())
            .map(|release| (*release).clone())
            .collect();
        for release in waiting {
            self.resume_canary(serving, release, "start").await;
        }
    }

    /// Begins a canary again. If the host has no room for it now, its candidate stays, and the next scan tries it again.
    pub(super) async fn resume_canary(&mut self, serving: &Serving, release: Release, by: &str) {
        let name = release.artifact.identity.name.to_string();
        let kept = Arc::new(release.clone());
        if let Err(error) = self.deploy(serving, release, by).await {
            tracing::warn!(plugin = name, "cannot resume the canary: {error}");
            if matches!(error, ChangeError::NoCapacity { .. }) {
                serving.catalog().entry(name).or_default().candidate = Some(kept);
            }
        }
    }

    /// The candidates whose canary could not begin again, because the host had no room for it.
    pub(super) fn waiting_canaries(&self, serving: &Serving) -> Vec<Arc<Release>> {
        let served = serving.served.load();
        let runs = |candidate: &Release| {
            let mut canaries = served.routes.values().filter_map(|route| route.canary.as_ref());
            canaries.any(|canary| canary.is_of(&candidate.artifact.identity))
        };
        let mut waiting = candidates(serving);
        // The candidate of an unloaded pipeline has no canary either, and waits for the pipeline.
        waiting.retain(|(name, candidate)| !runs(candidate) && !self.users_with_canary(name).is_empty());
        waiting.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Serves a new configuration. If it is rejected, nothing changes.
    ///
    /// # Errors
    /// If something cannot be served: file, key and reason of the first error.
    pub async fn reload(&mut self, serving: &Serving, config: Config) -> Result<(), ConfigError> {
        let started = self.rehearsed.started();
        let (folder, builder) = (self.folder.clone(), self.builder.clone());
        if !self.adopt_rehearsal() {
            self.builder.invalidate_files();
        }
        let result = self.apply(serving, config).await;
        if result.is_err() {
            // Restored, because files that were marked as handled for the new configuration were not deployed.
            self.folder = folder;
            self.builder = builder;
        }
        if result.as_ref().is_err_and(ConfigError::is_temporary) {
            // The next scan tries it again and reports it, once.
            return result;
        }
        serving.records.metrics.record_reload(if result.is_ok() { "served" } else { "refused" });
        match &result {
            Ok(()) => {
                let milliseconds = started.elapsed().as_millis() as u64;
                let pipelines = serving.pipeline_names().join(",");
                tracing::info!(target: "plimsoll::audit", action = "reload", pipelines, milliseconds, "change");
            }
            Err(error) => tracing::warn!(
                target: "plimsoll::audit", action = "reload", result = "refused",
                "{error}; the old configuration continues to be served"
            ),
        }
        result
    }

    async fn apply(&mut self, serving: &Serving, config: Config) -> Result<(), ConfigError> {
        for setting in needs_restart(&self.config, &config) {
            tracing::warn!("{}: the change to `{setting}` takes effect at the next start", config.path.display());
        }
        let (config, unloaded) = self.continued_config(config);
        let mut catalog = self.known_releases(serving);
        let pipelines = self.select(&config, &mut catalog).await?;
        self.config = config;
        self.unloaded = unloaded;
        // The selected and rejected releases are added to the catalog; its other content stays.
        for (name, chosen) in catalog {
            let stages = serving.served.load().stages_of(&name);
            let mut plugins = serving.catalog();
            let plugin = plugins.entry(name).or_default();
            let Some(new) = chosen.serving else { continue };
            plugin.handled = chosen.handled;
            chosen.rejected.into_iter().for_each(|rejected| plugin.reject(rejected));
            if plugin.serving.as_ref().is_none_or(|old| old.artifact.identity != new.artifact.identity) {
                plugin.serve(new, stages, self.config.deploy.keep);
            } else {
                // The bytes are the same, but the manifest may have changed.
                plugin.serving = Some(new);
            }
        }
        let served = Served {
            routes: pipelines.into_iter().map(|(name, stable)| (name, Route::new(stable))).collect(),
            unloaded: self.unloaded.keys().cloned().collect(),
        };
        let before = serving.served.swap(Arc::new(served));
        let continued = self.continue_canaries(serving, &before).await;
        self.resume_canaries(serving, &continued).await;
        self.retire_gone(serving);
        self.write_journal(serving);
        Ok(())
    }

    /// A new configuration, with those settings of the present one that apply until the next start, and without the
    /// pipelines that are unloaded.
    pub(super) fn continued_config(&self, mut config: Config) -> (Config, BTreeMap<String, config::Pipeline>) {
        let unloaded = self.take_unloaded(&mut config);
        // The old `[server]` applies until the next start, so each reload logs the pending changes again.
        config.server.clone_from(&self.config.server);
        // Until the next start the old folders are used, so that recordings stay next to the open journal and cache.
        config.data_dir.clone_from(&self.config.data_dir);
        config.cache_dir.clone_from(&self.config.cache_dir);
        (config, unloaded)
    }

    /// The releases from which a new configuration selects. They come from memory, because there may be no journal.
    /// Rejected releases may be tried again, so they are left out.
    pub(super) fn known_releases(&self, serving: &Serving) -> Catalog {
        let known = |plugin: &CatalogEntry| CatalogEntry {
            serving: plugin.serving.clone(),
            handled: plugin.record().handled,
            withdrawn: plugin.withdrawn.clone(),
            ..CatalogEntry::default()
        };
        serving.catalog().iter().map(|(name, plugin)| (name.clone(), known(plugin))).collect()
    }

    /// Creates the catalog from the journal.
    fn catalog_from_journal(&self, state: &JournalState) -> Catalog {
        let mut catalog = Catalog::new();
        for (name, record) in &state.plugins {
            let release = |version: &VersionRecord| self.release_of(name, version);
            let plugin = catalog.entry(name.clone()).or_default();
            plugin.handled = record.handled.clone();
            plugin.withdrawn = record.withdrawn.iter().map(|digest| Arc::from(digest.as_str())).collect();
            plugin.serving = record.serving.as_ref().and_then(release);
            plugin.candidate = record.candidate.as_ref().and_then(release);
            let previous = record.previous.iter().filter_map(release);
            plugin.previous =
                previous.map(|release| PreviousVersion { release, stages: Vec::new() }).collect::<VecDeque<_>>();
        }
        catalog
    }

    fn release_of(&self, name: &str, version: &VersionRecord) -> Option<Arc<Release>> {
        if version.is_bundled() {
            // A different version of this program may bundle a different component.
            return Release::bundled(name)
                .filter(|release| *release.artifact.identity.digest == version.digest)
                .map(Arc::new);
        }
        match self.journal.as_ref()?.release(name, version) {
            Ok(release) => Some(Arc::new(release)),
            Err(reason) => {
                tracing::warn!(
                    plugin = name,
                    digest = version.digest,
                    "cannot restore a version from the journal: {reason}"
                );
                None
            }
        }
    }

    /// Retires the plugins whose files are gone and that no pipeline needs any more.
    fn retire_gone(&mut self, serving: &Serving) {
        let gone: Vec<_> = serving
            .catalog()
            .iter()
            .filter(|(_, plugin)| plugin.note.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            if needed(&self.config).contains_key(name.as_str()) {
                continue;
            }
            if let Err(error) = self.retire(serving, name, "folder") {
                tracing::warn!("{error}");
            }
        }
    }
}

/// The settings that differ and cannot be changed while the process runs.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut settings = Vec::new();
    if old.server != new.server {
        settings.push("[server]");
    }
    if old.backends != new.backends {
        settings.push("[backends]");
    }
    if old.data_dir() != new.data_dir() || old.cache_dir() != new.cache_dir() {
        settings.push("data_dir or cache_dir");
    }
    if old.admin != new.admin {
        settings.push("[admin]");
    }
    if old.auth != new.auth {
        settings.push("[auth]");
    }
    if old.tls != new.tls {
        settings.push("[tls]");
    }
    if old.memory != new.memory {
        settings.push("[memory]");
    }
    if old.deploy.max_cache != new.deploy.max_cache {
        settings.push("deploy.max_cache");
    }
    settings
}
