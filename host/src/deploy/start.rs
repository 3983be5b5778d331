//! The first deployment, and a new configuration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::catalog::{Catalog, Plugin, Previous};
use super::deployer::{Deployer, stages_of};
use super::inbox::{self, Inbox};
use super::journal::{Book, Entry, Journal};
use super::release::Release;
use super::workshop::{Workshop, needed};
use crate::app::{App, Route, Served};
use crate::config::{Config, ConfigError};
use crate::engine::Engines;
use crate::metrics::Batches;

impl Deployer {
    /// Builds what the configuration names with the newest release of each plugin, or with the one that served last
    /// where the newest does not do.
    ///
    /// # Errors
    /// What cannot be served with any release.
    pub async fn start(
        engines: &Engines,
        config: &Config,
        remembers: bool,
        batches: Batches,
    ) -> Result<(Self, Catalog, Served), ConfigError> {
        let whole = |reason: String| ConfigError::new(&config.path, "", reason);
        let journal = if remembers { Journal::open(&config.data_dir()).map_err(whole)? } else { None };
        let book = journal.as_ref().map_or_else(|| Ok(Book::default()), Journal::read).map_err(whole)?;
        let mut workshop = Workshop::new(engines, config, batches)
            .map_err(|error| whole(format!("the engine does not start: {error:#}")))?;
        if remembers {
            workshop.record_inputs();
        }
        let mut this =
            Self { config: config.clone(), workshop, journal, inbox: Inbox::default(), unloaded: BTreeMap::new() };
        let mut catalog = this.remembered(&book);
        let pipelines = this.choose(config, &mut catalog).await?;
        let routes = pipelines.into_iter().map(|(name, stable)| (name, Route { stable, trial: None })).collect();
        Ok((this, catalog, Served { routes, unloaded: BTreeSet::new() }))
    }

    /// What is left to do once the application stands: the files that were handled, the trials that were going on,
    /// and the journal.
    pub async fn started(&mut self, app: &App) {
        for found in inbox::scan(&self.config) {
            let seen = |plugin: &Plugin| {
                let seen = plugin.seen.get(&*found.path.display().to_string());
                seen.is_some_and(|seen| seen.fingerprint == found.fingerprint)
            };
            if app.catalog().get(&found.name).is_some_and(seen) {
                self.inbox.handled(&found);
            }
        }
        self.resume_trials(app).await;
        self.remember(app);
    }

    /// A trial that the end of the process cut off begins again.
    async fn resume_trials(&mut self, app: &App) {
        let waiting: Vec<_> = app
            .catalog()
            .values_mut()
            .filter_map(|plugin| plugin.candidate.take())
            .map(|release| (*release).clone())
            .collect();
        for release in waiting {
            let name = Arc::clone(&release.artifact.identity.name);
            if let Err(error) = self.deploy(app, release, "start").await {
                tracing::warn!(plugin = %name, "the trial that was going on cannot go on: {error}");
            }
        }
    }

    /// Serves a new configuration, or changes nothing.
    ///
    /// # Errors
    /// The first thing that cannot be served: file, key, reason.
    pub async fn reload(&mut self, app: &App, config: Config) -> Result<(), ConfigError> {
        let started = Instant::now();
        let (inbox, files) = (self.inbox.clone(), self.workshop.forget_files());
        let result = self.apply(app, config).await;
        if result.is_err() {
            // Files that it would have taken are still to be deployed.
            self.inbox = inbox;
            self.workshop.put_back(files);
        }
        app.recorder.metrics.reload(if result.is_ok() { "served" } else { "refused" });
        match &result {
            Ok(()) => {
                let milliseconds = started.elapsed().as_millis() as u64;
                let pipelines = app.pipeline_names().join(",");
                tracing::info!(target: "plimsoll::audit", action = "reload", pipelines, milliseconds, "change");
            }
            Err(error) => tracing::warn!(
                target: "plimsoll::audit", action = "reload", result = "refused",
                "{error}; what was served is served on"
            ),
        }
        result
    }

    async fn apply(&mut self, app: &App, mut config: Config) -> Result<(), ConfigError> {
        let unloaded = self.take_unloaded(&mut config);
        for setting in needs_restart(&self.config, &config) {
            tracing::warn!("{}: a new `{setting}` takes effect at the next start", config.path.display());
        }
        // Until then recordings go where the journal and the cache are.
        config.data_dir.clone_from(&self.config.data_dir);
        config.cache_dir.clone_from(&self.config.cache_dir);
        // From memory and not from the journal, which there need not be; what was refused may be tried again.
        let known =
            |plugin: &Plugin| Plugin { serving: plugin.serving.clone(), seen: plugin.page().seen, ..Plugin::default() };
        let mut catalog: Catalog = app.catalog().iter().map(|(name, plugin)| (name.clone(), known(plugin))).collect();
        let pipelines = self.choose(&config, &mut catalog).await?;
        self.config = config;
        self.unloaded = unloaded;
        // What the choice added or replaced is taken over; what was known before stays as it is.
        for (name, chosen) in catalog {
            let stages = stages_of(&app.served.load(), &name);
            let mut plugins = app.catalog();
            let plugin = plugins.entry(name).or_default();
            let Some(new) = chosen.serving else { continue };
            plugin.seen = chosen.seen;
            chosen.refused.into_iter().for_each(|refused| plugin.refuse(refused));
            if plugin.serving.as_ref().is_none_or(|old| old.artifact.identity != new.artifact.identity) {
                let gone = plugin.serve(new, stages, self.config.deploy.keep);
                gone.iter().for_each(|identity| app.recorder.forget(identity));
            } else {
                // The same bytes, but their manifest may be another.
                plugin.serving = Some(new);
            }
        }
        let served = Served {
            routes: pipelines.into_iter().map(|(name, stable)| (name, Route { stable, trial: None })).collect(),
            unloaded: self.unloaded.keys().cloned().collect(),
        };
        app.served.store(Arc::new(served));
        self.resume_trials(app).await;
        self.retire_gone(app);
        self.remember(app);
        Ok(())
    }

    /// The catalog as the journal has it.
    fn remembered(&self, book: &Book) -> Catalog {
        let mut catalog = Catalog::new();
        for (name, page) in &book.plugins {
            let release = |entry: &Entry| self.release_of(name, entry);
            let plugin = catalog.entry(name.clone()).or_default();
            plugin.seen = page.seen.clone();
            plugin.serving = page.serving.as_ref().and_then(release);
            plugin.candidate = page.candidate.as_ref().and_then(release);
            let previous = page.previous.iter().filter_map(release);
            plugin.previous = previous.map(|release| Previous { release, stages: Vec::new() }).collect::<VecDeque<_>>();
        }
        catalog
    }

    fn release_of(&self, name: &str, entry: &Entry) -> Option<Arc<Release>> {
        if entry.is_bundled() {
            // Another version of this program carries another one.
            return Release::bundled(name)
                .filter(|release| *release.artifact.identity.digest == entry.digest)
                .map(Arc::new);
        }
        match self.journal.as_ref()?.release(name, entry) {
            Ok(release) => Some(Arc::new(release)),
            Err(reason) => {
                tracing::warn!(plugin = name, digest = entry.digest, "a version is lost: {reason}");
                None
            }
        }
    }

    /// Retires the plugins whose files are gone and that no pipeline needs any more.
    fn retire_gone(&mut self, app: &App) {
        let gone: Vec<_> =
            app.catalog().iter().filter(|(_, plugin)| plugin.note.is_some()).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            if needed(&self.config).contains_key(name.as_str()) {
                continue;
            }
            if let Err(error) = self.retire(app, name, "folder") {
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
    if old.memory != new.memory {
        settings.push("[memory]");
    }
    if old.deploy.max_cache != new.deploy.max_cache {
        settings.push("deploy.max_cache");
    }
    settings
}
