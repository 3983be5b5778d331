//! The first deployment, and a new configuration: which release of each plugin is wanted, and what happens when it
//! does not do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::catalog::{Catalog, Plugin, Previous, Refused};
use super::deployer::{Deployer, stages_of};
use super::inbox::{self, Fingerprint, Found, Inbox};
use super::journal::{Book, Entry, Journal};
use super::release::{Release, Source};
use super::smoke;
use super::workshop::{BuildError, Pipelines, Selection, Workshop, declared, needed};
use crate::app::{App, Route, Served};
use crate::config::{Config, ConfigError};
use crate::engine::Engines;
use crate::metrics::Batches;
use crate::plugin::{bundled, oci};

/// What a plugin may be served with: what is new, and what served last.
struct Choice {
    newest: Arc<Release>,
    last: Option<Arc<Release>>,
}

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
        let inbox = self.inbox.clone();
        let result = self.apply(app, config).await;
        if result.is_err() {
            // Files that it would have taken are still to be deployed.
            self.inbox = inbox;
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
        self.workshop.forget_files();
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

    /// Chooses a release for every plugin that the configuration needs, and builds its pipelines; the catalog then
    /// has what was chosen and what was refused.
    async fn choose(&mut self, config: &Config, catalog: &mut Catalog) -> Result<Pipelines, ConfigError> {
        let mut choices = BTreeMap::new();
        for (name, key) in wanted(config) {
            let choice = self.choice(config, catalog, &name).await;
            choices.insert(name, choice.map_err(|reason| ConfigError::new(&config.path, key, reason))?);
        }
        let mut held = Vec::new();
        loop {
            let selection: Selection =
                choices.iter().map(|(name, choice)| (name.clone(), Arc::clone(&choice.newest))).collect();
            let error = match self.built(config, &selection, &mut held).await {
                Ok(pipelines) => {
                    for (name, choice) in choices {
                        self.keep(catalog, &name, choice);
                    }
                    return Ok(pipelines);
                }
                Err(error) => error,
            };
            // The release at fault is new, and another one served before it: that one serves on.
            let blamed = error.plugin.as_ref().and_then(|name| choices.get_mut(name).map(|choice| (name, choice)));
            let Some((name, choice)) = blamed.filter(|(_, choice)| choice.last.is_some()) else {
                return Err(error.in_config(config));
            };
            let last = choice.last.take().expect("filtered");
            let newest = std::mem::replace(&mut choice.newest, last);
            let identity = newest.artifact.identity.clone();
            tracing::warn!(plugin = name, digest = %identity.digest, "{error}; the version before it serves on");
            let (source, at) = (newest.source.to_string(), SystemTime::now());
            let refused = Refused { identity, source, reason: error.reason, at, retry: true };
            catalog.entry(name.clone()).or_default().refuse(refused);
        }
    }

    async fn built(
        &mut self,
        config: &Config,
        selection: &Selection,
        held: &mut Vec<Arc<crate::stage::Stage>>,
    ) -> Result<Pipelines, BuildError> {
        let pipelines = self.workshop.build(config, selection, held).await?;
        for (name, pipeline) in &pipelines {
            smoke::run(pipeline, None)
                .await
                .map_err(|failed| BuildError::of_plugin(&failed.plugin, format!("pipelines.{name}"), failed.reason))?;
        }
        Ok(pipelines)
    }

    /// What a plugin may be served with: a file or a reference that was not seen before, else what served last, else
    /// what the binary carries.
    async fn choice(&mut self, config: &Config, catalog: &mut Catalog, name: &str) -> Result<Choice, String> {
        let plugin = catalog.entry(name.to_owned()).or_default();
        let last = plugin.serving.clone();
        let fresh = match declared(config, name).and_then(|file| file.to_str()) {
            Some(reference) if reference.starts_with("oci://") => {
                if plugin.seen.contains_key(reference) && last.is_some() && reference.contains("@sha256:") {
                    None
                } else {
                    Some(
                        pull(config, name, reference)
                            .await
                            .map(|release| (reference.to_owned(), Fingerprint::default(), release)),
                    )
                }
            }
            _ => self.newest_file(config, name, plugin).map(|found| {
                let release = release_of_file(config, &found)?;
                self.inbox.handled(&found);
                Ok((found.path.display().to_string(), found.fingerprint, release))
            }),
        };
        let newest = match fresh {
            Some(Ok((what, fingerprint, release))) => {
                let digest = release.artifact.identity.digest.to_string();
                let known = plugin.seen.insert(what, super::journal::Seen { digest: digest.clone(), fingerprint });
                // The same bytes under a new time are no new release: the folder was copied or restored.
                let is_known = last.is_some() && known.is_some_and(|known| known.digest == digest);
                if is_known { None } else { Some(Arc::new(release)) }
            }
            Some(Err(reason)) if last.is_some() => {
                tracing::warn!(plugin = name, "{reason}; the version that served last serves on");
                None
            }
            Some(Err(reason)) => return Err(reason),
            None => None,
        };
        match (newest, last) {
            (Some(newest), last) => Ok(Choice { newest, last }),
            (None, Some(last)) => Ok(Choice { newest: last, last: None }),
            (None, None) => {
                let release = Release::bundled(name).ok_or_else(|| unknown(config, name))?;
                Ok(Choice { newest: Arc::new(release), last: None })
            }
        }
    }

    /// The file with the highest version, unless it was seen as it is and something serves: a plugin that was retired and
    /// is wanted again has nothing but its file.
    fn newest_file(&mut self, config: &Config, name: &str, plugin: &Plugin) -> Option<Found> {
        let files: Vec<_> = inbox::scan(config).into_iter().filter(|found| found.name == name).collect();
        let is_seen = |found: &Found| {
            let seen = plugin.seen.get(&*found.path.display().to_string());
            plugin.serving.is_some() && seen.is_some_and(|seen| seen.fingerprint == found.fingerprint)
        };
        let (seen, fresh): (Vec<_>, Vec<_>) = files.into_iter().partition(is_seen);
        seen.iter().for_each(|found| self.inbox.handled(found));
        // A lower version that lies beside the highest is not waited for either.
        fresh.iter().for_each(|found| self.inbox.handled(found));
        fresh.into_iter().next_back()
    }

    /// Enters what was chosen, with its copy on disk.
    fn keep(&self, catalog: &mut Catalog, name: &str, choice: Choice) {
        let mut release = choice.newest;
        if let (Some(journal), true) = (&self.journal, release.source != Source::Bundled) {
            match journal.keep(release.artifact.clone()) {
                Ok(artifact) => release = Arc::new(Release { artifact, ..(*release).clone() }),
                Err(error) => tracing::warn!(plugin = name, "no copy is kept: {error}"),
            }
        }
        let plugin = catalog.entry(name.to_owned()).or_default();
        let same = plugin.serving.as_ref().is_some_and(|old| old.artifact.identity == release.artifact.identity);
        if same {
            plugin.serving = Some(release);
        } else {
            plugin.serve(release, Vec::new(), self.config.deploy.keep);
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

/// The plugins that a configuration needs or declares, each with the key that names it.
fn wanted(config: &Config) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<_, _> =
        config.plugins.keys().map(|name| (name.clone(), format!("plugins.{name}"))).collect();
    for (name, pipeline) in &config.pipelines {
        let mut add = |plugin: &str, key: String| {
            wanted.entry(plugin.to_owned()).or_insert_with(|| format!("pipelines.{name}.{key}.plugin"));
        };
        add(&pipeline.preprocess.plugin, "preprocess".into());
        pipeline.chips.iter().for_each(|(chip, stage)| add(&stage.plugin, format!("chips.{chip}")));
        add(&pipeline.postprocess.plugin, "postprocess".into());
    }
    wanted
}

fn unknown(config: &Config, name: &str) -> String {
    if let Some(file) = declared(config, name) {
        return format!("{} cannot be read: there is no such file", config.resolve(file).display());
    }
    let known: Vec<_> = bundled::names().collect();
    format!(
        "there is no plugin `{name}`: neither {} nor a bundled one ({})",
        config.plugin_dir().join(format!("{name}.wasm")).display(),
        known.join(", ")
    )
}

/// The release that a file of the inbox holds.
pub(super) fn release_of_file(config: &Config, found: &Found) -> Result<Release, String> {
    let max = config.deploy.max_plugin.as_u64();
    Release::of_file(&found.name, found.version.as_deref(), &found.path, max)
}

async fn pull(config: &Config, name: &str, reference: &str) -> Result<Release, String> {
    let parsed: oci::OciReference = reference.parse().map_err(|error: oci::OciError| error.to_string())?;
    let pulled = oci::pull(&parsed, config.deploy.max_plugin.as_u64()).await.map_err(|error| error.to_string())?;
    let source = Source::Oci(reference.to_owned());
    Ok(Release::new(name, None, pulled.bytes.into(), super::manifest::Manifest::default(), source))
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
    settings
}
