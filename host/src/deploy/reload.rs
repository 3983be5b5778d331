//! The change to a new configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Catalog, CatalogEntry};
use super::deployer::Deployer;
use super::journal_state::HandledFile;
use super::needed::users;
use super::serving::{Route, Served, Serving};
use crate::config::{self, Config, ConfigError};

impl Deployer {
    /// Serves a new configuration. If it is rejected, nothing changes.
    ///
    /// # Errors
    /// If something cannot be served: file, key and reason of the first error.
    pub async fn reload(&mut self, serving: &Serving, config: Config) -> Result<(), ConfigError> {
        let started = self.rehearsed.started();
        let (folder, builder) = (self.folder.clone(), self.builder.clone());
        if !self.adopt_rehearsal() {
            self.builder.invalidate_files(Arc::default());
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
        let config = Arc::new(config);
        let mut catalog = self.known_releases(serving);
        let pipelines = self.select(&config, &mut catalog).await?;
        self.config = config;
        self.unloaded = unloaded;
        let served = Served {
            routes: pipelines.into_iter().map(|(name, stable)| (name, Route::new(stable))).collect(),
            unloaded: self.unloaded_models(),
        };
        let before = self.swap(serving, served, catalog);
        let continued = self.continue_canaries(serving, &before).await;
        self.resume_canaries(serving, &continued, Some(&before)).await;
        self.retire_gone(serving);
        self.write_journal(serving);
        Ok(())
    }

    /// Serves `served` from now on, and adds the selected and rejected releases to the catalog, whose other content stays. Returns
    /// what was served before. Who has an answer of a new version finds it in the catalog, and the other way round.
    fn swap(&self, serving: &Serving, served: Served, catalog: Catalog) -> Arc<Served> {
        let mut plugins = serving.catalog();
        let before = serving.served.swap(Arc::new(served));
        for (name, chosen) in catalog {
            let stages = before.stages_of(&name);
            let plugin = plugins.entry(name).or_default();
            let Some(new) = chosen.serving else { continue };
            plugin.handled = chosen.handled;
            plugin.not_pulled = chosen.not_pulled;
            if let Some(candidate) = chosen.candidate {
                plugin.put_on_canary(candidate);
            }
            chosen.rejected.into_iter().for_each(|rejected| plugin.reject(rejected));
            if plugin.serving.as_ref().is_none_or(|old| old.artifact.identity != new.artifact.identity) {
                plugin.serve(new, stages, self.config.deploy.keep);
            } else {
                // The bytes are the same, but the manifest may have changed.
                plugin.serving = Some(new);
            }
        }
        before
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
            candidate: plugin.candidate.clone(),
            handled: known_handled(plugin),
            withdrawn: plugin.withdrawn.clone(),
            lost: plugin.lost.clone(),
            revision: plugin.revision,
            ..CatalogEntry::default()
        };
        serving.catalog().iter().map(|(name, plugin)| (name.clone(), known(plugin))).collect()
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
            if !users(&self.config, &self.unloaded, name).is_empty() {
                continue;
            }
            if let Err(error) = self.retire(serving, name, "folder") {
                tracing::warn!("{error}");
            }
        }
    }
}

/// The handled files from which a new configuration selects. The file of a candidate was handled even if there is no copy of
/// it on disk: otherwise a reload would make it serve before its canary is decided.
fn known_handled(plugin: &CatalogEntry) -> BTreeMap<String, HandledFile> {
    let candidate = plugin.candidate.as_ref().map(|candidate| &candidate.artifact.identity.digest);
    let of_candidate = plugin.handled.iter().filter(|(_, handled)| candidate.is_some_and(|it| **it == *handled.digest));
    let mut known = plugin.record().handled;
    known.extend(of_candidate.map(|(what, handled)| (what.clone(), handled.clone())));
    known
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
    if old.telemetry != new.telemetry {
        settings.push("[telemetry]");
    }
    if old.memory != new.memory {
        settings.push("[memory]");
    }
    if old.deploy.max_cache != new.deploy.max_cache {
        settings.push("deploy.max_cache");
    }
    if old.deploy.quick_start != new.deploy.quick_start {
        settings.push("deploy.quick_start");
    }
    settings
}
