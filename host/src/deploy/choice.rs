//! Which release of each plugin is served when there is a choice: what is new, else what served last, else what the
//! binary carries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::catalog::{Catalog, Plugin, Refused};
use super::deployer::Deployer;
use super::inbox::{self, Fingerprint, Found};
use super::release::{Release, Source};
use super::smoke;
use super::workshop::{BuildError, Pipelines, Selection, declared};
use crate::config::{Config, ConfigError};
use crate::plugin::{bundled, oci};

/// What a plugin may be served with: what is new, and what served last.
struct Choice {
    newest: Arc<Release>,
    last: Option<Arc<Release>>,
}

impl Deployer {
    /// Chooses a release for every plugin that the configuration needs, and builds its pipelines; the catalog then
    /// has what was chosen and what was refused.
    pub(super) async fn choose(&mut self, config: &Config, catalog: &mut Catalog) -> Result<Pipelines, ConfigError> {
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

    /// Pipelines that have answered their samples.
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
                // Their manifest may be, though: it was changed beside them.
                let is_changed = last.as_ref().is_some_and(|last| {
                    last.artifact.identity == release.artifact.identity && last.manifest.text != release.manifest.text
                });
                let is_known = last.is_some() && !is_changed && known.is_some_and(|known| known.digest == digest);
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
    fn newest_file(&mut self, config: &Config, name: &str, plugin: &mut Plugin) -> Option<Found> {
        let files: Vec<_> = inbox::scan(config).into_iter().filter(|found| found.name == name).collect();
        let is_seen = |found: &Found| {
            let seen = plugin.seen.get(&*found.path.display().to_string());
            plugin.serving.is_some() && seen.is_some_and(|seen| seen.fingerprint == found.fingerprint)
        };
        let (seen, mut fresh): (Vec<_>, Vec<_>) = files.into_iter().partition(is_seen);
        seen.iter().for_each(|found| self.inbox.handled(found));
        fresh.iter().for_each(|found| self.inbox.handled(found));
        let newest = fresh.pop();
        // A lower version beside it was passed over: it is not the newest of what is new the next time.
        for found in fresh {
            if let Ok(release) = release_of_file(config, &found) {
                let digest = release.artifact.identity.digest.to_string();
                let seen = super::journal::Seen { digest, fingerprint: found.fingerprint };
                plugin.seen.insert(found.path.display().to_string(), seen);
            }
        }
        newest
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
