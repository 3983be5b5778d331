//! Selects the release that each plugin serves with. A new release takes precedence over the one that served before the
//! restart, which takes precedence over the bundled one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_runtime::stage::StageCore;

use super::build_error::BuildError;
use super::catalog::{Catalog, CatalogEntry, RejectedVersion};
use super::deployer::Deployer;
use super::file_fingerprint::FileFingerprint;
use super::journal::HandledFile;
use super::manifest::Manifest;
use super::needed::declared;
use super::pipeline_build::Selection;
use super::pipeline_builder::Pipelines;
use super::plugin_folder::{self, ComponentFile};
use super::release::{Release, ReleaseSource};
use super::sample::run_sample;
use crate::base::{bundled, oci};
use crate::config::{Config, ConfigError};

/// The releases that a plugin may serve with: the newest one, and the one that served before it.
struct Choice {
    newest: Arc<Release>,
    last: Option<Arc<Release>>,
}

impl Deployer {
    /// Selects a release for every plugin that the configuration needs, and builds its pipelines. Adds the selected and
    /// rejected releases to the catalog.
    pub(super) async fn select(&mut self, config: &Config, catalog: &mut Catalog) -> Result<Pipelines, ConfigError> {
        let mut choices = BTreeMap::new();
        for (name, key) in wanted(config) {
            let choice = self.choice(config, catalog, &name).await;
            choices.insert(name, choice.map_err(|reason| ConfigError::new(&config.path, key, reason))?);
        }
        let mut held = Vec::new();
        loop {
            let selection: Selection =
                choices.iter().map(|(name, choice)| (name.clone(), Arc::clone(&choice.newest))).collect();
            let error = match self.build_and_sample(config, &selection, &mut held).await {
                Ok(pipelines) => {
                    for (name, choice) in choices {
                        self.enter(catalog, &name, choice);
                    }
                    return Ok(pipelines);
                }
                Err(error) => error,
            };
            // If the release at fault is new, the one before it continues to serve.
            let at_fault = error.plugin.as_ref().and_then(|name| Some((name, choices.get_mut(name)?)));
            let Some((name, choice, last)) = at_fault.and_then(|(name, choice)| {
                let last = choice.last.take()?;
                Some((name, choice, last))
            }) else {
                return Err(error.in_config(config));
            };
            let newest = std::mem::replace(&mut choice.newest, last);
            let identity = newest.artifact.identity.clone();
            tracing::warn!(
                plugin = name, digest = %identity.digest,
                "{error}; the previous version continues to serve"
            );
            let (source, at) = (newest.source.to_string(), SystemTime::now());
            let rejected = RejectedVersion { identity, source, reason: error.reason, at, retry: true };
            catalog.entry(name.clone()).or_default().reject(rejected);
        }
    }

    /// Builds pipelines and runs their samples.
    async fn build_and_sample(
        &mut self,
        config: &Config,
        selection: &Selection,
        held: &mut Vec<Arc<StageCore>>,
    ) -> Result<Pipelines, BuildError> {
        let pipelines = self.builder.build(config, selection, held).await?;
        for (name, pipeline) in &pipelines {
            run_sample(pipeline, None)
                .await
                .map_err(|failed| BuildError::for_plugin(&failed.plugin, format!("pipelines.{name}"), failed.reason))?;
        }
        Ok(pipelines)
    }

    /// Finds the releases that a plugin may serve with. A new file or reference comes first, then the release that
    /// served before, then the bundled one.
    async fn choice(&mut self, config: &Config, catalog: &mut Catalog, name: &str) -> Result<Choice, String> {
        let plugin = catalog.entry(name.to_owned()).or_default();
        let last = plugin.serving.clone();
        let fresh = match declared(config, name).and_then(|file| file.to_str()) {
            Some(reference) if reference.starts_with("oci://") => {
                if plugin.handled.contains_key(reference) && last.is_some() && reference.contains("@sha256:") {
                    None
                } else {
                    Some(
                        pull(config, name, reference)
                            .await
                            .map(|release| (reference.to_owned(), FileFingerprint::default(), release)),
                    )
                }
            }
            _ => self.newest_file(config, name, plugin).map(|found| {
                let release = release_of_file(config, &found)?;
                self.folder.mark_handled(&found);
                Ok((found.path.display().to_string(), found.fingerprint, release))
            }),
        };
        let newest = match fresh {
            Some(Ok((what, fingerprint, release))) => {
                let digest = release.artifact.identity.digest.to_string();
                let known = plugin.handled.insert(what, HandledFile { digest: digest.clone(), fingerprint });
                // The same bytes with a new modification time are not a new release, because the folder may have been
                // copied or restored. The same bytes with a changed manifest are a new release.
                let is_changed = last.as_ref().is_some_and(|last| {
                    last.artifact.identity == release.artifact.identity && last.manifest.text != release.manifest.text
                });
                let is_known = last.is_some() && !is_changed && known.is_some_and(|known| known.digest == digest);
                if is_known { None } else { Some(Arc::new(release)) }
            }
            Some(Err(reason)) if last.is_some() => {
                tracing::warn!(plugin = name, "{reason}; the previous version continues to serve");
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

    /// Returns the unhandled file with the highest version. If the plugin does not serve, handled files count as
    /// unhandled, because a retired plugin that is needed again has only its file.
    fn newest_file(&mut self, config: &Config, name: &str, plugin: &mut CatalogEntry) -> Option<ComponentFile> {
        let files: Vec<_> = plugin_folder::list(config).into_iter().filter(|found| found.name == name).collect();
        let is_handled = |found: &ComponentFile| {
            let handled = plugin.handled.get(&*found.path.display().to_string());
            plugin.serving.is_some() && handled.is_some_and(|handled| handled.fingerprint == found.fingerprint)
        };
        let (handled, mut fresh): (Vec<_>, Vec<_>) = files.into_iter().partition(is_handled);
        handled.iter().for_each(|found| self.folder.mark_handled(found));
        fresh.iter().for_each(|found| self.folder.mark_handled(found));
        let newest = fresh.pop();
        // New files with lower versions are recorded as handled. Otherwise the next selection would take one of these
        // files.
        for found in fresh {
            if let Ok(release) = release_of_file(config, &found) {
                let digest = release.artifact.identity.digest.to_string();
                let handled = HandledFile { digest, fingerprint: found.fingerprint };
                plugin.handled.insert(found.path.display().to_string(), handled);
            }
        }
        newest
    }

    /// Makes the selected release the serving one in the catalog, and keeps a copy of its component on disk.
    fn enter(&self, catalog: &mut Catalog, name: &str, choice: Choice) {
        let mut release = choice.newest;
        if let (Some(journal), true) = (&self.journal, release.source != ReleaseSource::Bundled) {
            match journal.keep(release.artifact.clone()) {
                Ok(artifact) => release = Arc::new(Release { artifact, ..(*release).clone() }),
                Err(error) => tracing::warn!(plugin = name, "cannot keep a copy of the component: {error}"),
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
}

/// The plugins that a configuration needs or declares, each with the configuration key that names it.
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
        "there is no plugin `{name}`: {} does not exist, and the bundled plugins are {}",
        config.plugin_dir().join(format!("{name}.wasm")).display(),
        known.join(", ")
    )
}

/// Reads the release of a component file.
pub(super) fn release_of_file(config: &Config, found: &ComponentFile) -> Result<Release, String> {
    let max = config.deploy.max_plugin.as_u64();
    Release::from_file(&found.name, found.version.as_deref(), &found.path, max)
}

async fn pull(config: &Config, name: &str, reference: &str) -> Result<Release, String> {
    let parsed: oci::OciReference = reference.parse().map_err(|error: oci::OciError| error.to_string())?;
    let pulled = oci::pull(&parsed, config.deploy.max_plugin.as_u64()).await.map_err(|error| error.to_string())?;
    let source = ReleaseSource::Oci(reference.to_owned());
    Ok(Release::new(name, None, pulled.bytes.into(), Manifest::default(), source))
}
