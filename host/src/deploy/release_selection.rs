//! Selects the release that each plugin serves with. A new release takes precedence over the one that served before the
//! restart, which takes precedence over the bundled one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::lack::Lack;

use super::catalog::{Catalog, NotPulled, RejectedVersion, VersionFigures};
use super::deployer::Deployer;
use super::file_fingerprint::FileFingerprint;
use super::journal_state::HandledFile;
use super::needed::declared;
use super::newest_release::NoFile;
use super::pipeline_build::Selection;
use super::pipeline_builder::Pipelines;
use super::pull::{is_handled, must_pull, reference_of};
use super::release::{FileError, Release};
use super::sample::Tried;
use crate::base::bundled;
use crate::base::files::{list_folder, look_at_regular_file};
use crate::config::{Config, ConfigError, PullError};

/// The releases that a plugin may serve with: the newest one, and the one that served before it.
pub(super) struct Choice {
    pub(super) newest: Arc<Release>,
    pub(super) last: Option<Arc<Release>>,
    /// A new release that must pass a canary before it serves. Then `newest` is the one before it.
    pub(super) candidate: Option<Arc<Release>>,
}

/// Why there is no release with which a plugin may serve.
#[derive(Debug, thiserror::Error)]
enum NoRelease {
    #[error(transparent)]
    Pull(#[from] PullError),
    /// What is served has changed since it was decided which references must be pulled.
    #[error("{0} must be pulled again")]
    NotPulled(String),
    #[error(transparent)]
    NoFile(#[from] NoFile),
    /// The version that served before the start is lost, and no other may take its place.
    #[error(
        "{0}; put its component into the plugin folder, or restore the copy from a backup. No other version takes its place \
         by itself: those that are left were rolled back, or are bundled"
    )]
    Lost(String),
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no file and no bundled plugin. The reason says where the plugin was searched for.
    #[error("{reason}")]
    Unknown { reason: String, is_temporary: bool },
}

impl NoRelease {
    /// Returns true if the host had no room to read a file or a folder. Then it may be tried again.
    fn is_temporary(&self) -> bool {
        match self {
            Self::File(error) => error.is_temporary(),
            Self::Unknown { is_temporary, .. } => *is_temporary,
            Self::NotPulled(_) | Self::NoFile(NoFile::Unseen { .. }) => true,
            Self::Pull(error) => error.is_temporary,
            Self::NoFile(NoFile::NoNewest(_)) | Self::Lost(_) => false,
        }
    }
}

impl Deployer {
    /// Selects a release for every plugin that the configuration needs, and builds its pipelines. Adds the selected and
    /// rejected releases to the catalog.
    pub(super) async fn select(
        &mut self,
        config: &Arc<Config>,
        catalog: &mut Catalog,
    ) -> Result<Pipelines, ConfigError> {
        self.folder.begin_reads();
        let choices = self.find_choices(config, catalog);
        self.folder.end_reads();
        let mut choices = choices?;
        let mut held = Vec::new();
        loop {
            let selection: Selection =
                choices.iter().map(|(name, choice)| (name.clone(), Arc::clone(&choice.newest))).collect();
            let error = match self.try_selection(config, &selection, Tried::All, &mut held).await {
                Ok(pipelines) => {
                    let held_back = self.hold_back(config, &mut choices, &mut held).await;
                    let held_back = held_back.map_err(|error| error.in_config(config))?;
                    let pipelines = held_back.unwrap_or(pipelines);
                    for (name, choice) in choices {
                        self.add_to_catalog(catalog, &name, choice);
                    }
                    return Ok(pipelines);
                }
                // The quickly compiled code of a start may be too slow for a deadline.
                Err(error)
                    if error.plugin.is_some()
                        && !error.is_temporary
                        && self.builder.preparer().optimise_now().await =>
                {
                    self.rehearsed.forget_trials();
                    continue;
                }
                Err(error) => error,
            };
            // If the release at fault is new, the one before it continues to serve. A temporary lack of room in the
            // host says nothing about a release.
            let at_fault = error
                .plugin
                .as_ref()
                .filter(|_| !error.is_temporary)
                .and_then(|name| Some((name, choices.get_mut(name)?)));
            let Some((name, choice, last)) = at_fault.and_then(|(name, choice)| {
                let last = choice.last.take()?;
                Some((name, choice, last))
            }) else {
                return Err(error.in_config(config));
            };
            let newest = std::mem::replace(&mut choice.newest, last);
            let identity = newest.artifact.identity.clone();
            if !self.is_rehearsal {
                tracing::warn!(
                    plugin = name, digest = %identity.digest,
                    "{error}; the previous version continues to serve"
                );
            }
            let (source, at) = (newest.source.to_string(), SystemTime::now());
            let figures = VersionFigures::default();
            let rejected = RejectedVersion { identity, source, reason: error.reason, at, retry: true, figures };
            catalog.entry(name.clone()).or_default().reject(rejected);
        }
    }

    /// Finds the releases that each plugin may serve with.
    fn find_choices(
        &mut self,
        config: &Config,
        catalog: &mut Catalog,
    ) -> Result<BTreeMap<String, Choice>, ConfigError> {
        let mut choices = BTreeMap::new();
        for (name, key) in wanted_plugins(config) {
            let choice = self.find_choice(config, catalog, &name);
            let choice = choice.map_err(|error| {
                let is_temporary = error.is_temporary();
                ConfigError::new(&config.path, key, error).temporary(is_temporary)
            });
            choices.insert(name, choice?);
        }
        Ok(choices)
    }

    /// Finds the releases that a plugin may serve with. A new file or reference comes first, then the release that
    /// served before, then the bundled one.
    fn find_choice(&mut self, config: &Config, catalog: &mut Catalog, name: &str) -> Result<Choice, NoRelease> {
        let plugin = catalog.entry(name.to_owned()).or_default();
        let last = plugin.serving.clone();
        let pulled = &self.rehearsed.pulled;
        let is_overtaken =
            last.is_some() && reference_of(config, name).is_some_and(|it| pulled.is_overtaken(name, it, plugin));
        let fresh = match reference_of(config, name) {
            Some(reference) if !must_pull(reference, Some(plugin)) => None,
            Some(reference) => {
                let answer = pulled.get(name, reference).ok_or_else(|| NoRelease::NotPulled(reference.to_owned()))?;
                let found = |release| (reference.to_owned(), FileFingerprint::default(), release);
                Some(answer.clone().map(found).map_err(NoRelease::from))
            }
            None => self.newest_file(config, name, plugin).transpose().map(|found| {
                let (found, release) = found?;
                if matches!(release, Err(FileError::Unreadable { .. })) {
                    // The next scan tries it again.
                    self.folder.mark_unhandled(&found);
                }
                let release = release?;
                Ok::<_, NoRelease>((found.path.display().to_string(), found.fingerprint, release))
            }),
        };
        let newest = match fresh {
            Some(Ok((what, fingerprint, release))) => {
                let digest = release.artifact.identity.digest.to_string();
                let is_known = is_handled(&what, &release, plugin);
                let known = plugin.handled.insert(what, HandledFile { digest: digest.clone(), fingerprint });
                let is_repeated = known.is_some_and(|known| known.digest == digest);
                if is_known && !is_repeated && !self.is_rehearsal {
                    tracing::warn!(
                        plugin = name, %digest,
                        "{} does not serve, because this version was rolled back; `plimsoll plugin deploy` deploys it",
                        release.source
                    );
                }
                if is_overtaken && !is_known && !self.is_rehearsal {
                    tracing::warn!(
                        plugin = name, %digest,
                        "{} does not serve, because the plugin was deployed or rolled back while it was pulled; deploy it \
                         to serve it", release.source
                    );
                }
                if is_known || is_overtaken { None } else { Some(Arc::new(release)) }
            }
            Some(Err(error)) if last.is_some() => {
                if let NoRelease::Pull(error) = &error {
                    let not_pulled = NotPulled { reason: error.to_string(), revision: plugin.revision };
                    plugin.not_pulled = error.is_temporary.then_some(not_pulled);
                }
                if !self.is_rehearsal {
                    tracing::warn!(plugin = name, "{error}; the previous version continues to serve");
                }
                None
            }
            Some(Err(error)) => return Err(error),
            None => None,
        };
        if let Some(newest) = &newest
            && let Some(lost) = plugin.lost.take()
        {
            let Identity { version, digest, .. } = &newest.artifact.identity;
            tracing::error!(
                plugin = name, %digest,
                "{lost}; version {version} serves instead ({}), because its file is in the plugin folder", newest.source
            );
        }
        match (newest, last) {
            (Some(newest), last) => Ok(Choice { newest, last, candidate: None }),
            (None, Some(last)) => Ok(Choice { newest: last, last: None, candidate: None }),
            (None, None) => {
                if let Some(lost) = &plugin.lost {
                    return Err(NoRelease::Lost(lost.clone()));
                }
                // The bundled plugin does not take the place of a file that the configuration names.
                let bundled = if declared(config, name).is_none() { Release::bundled(name) } else { None };
                let release = bundled.ok_or_else(|| unknown(config, name))?;
                Ok(Choice { newest: Arc::new(release), last: None, candidate: None })
            }
        }
    }

    /// Makes the selected release the serving one in the catalog. A rehearsal writes a copy of its component to the disk.
    fn add_to_catalog(&mut self, catalog: &mut Catalog, name: &str, choice: Choice) {
        let release = choice.newest;
        if let Some(journal) = self.staging.as_ref().filter(|_| !release.is_kept()) {
            self.rehearsed.stage(&release.artifact, journal);
        }
        if self.journal.is_some() {
            // The copy is moved to its place after the change.
            self.lost_copies.keep_staged(self.rehearsed.take_staged(&release.artifact.identity.digest));
        }
        let plugin = catalog.entry(name.to_owned()).or_default();
        if let Some(candidate) = choice.candidate {
            plugin.put_on_canary(candidate);
        }
        let same = plugin.serving.as_ref().is_some_and(|old| old.artifact.identity == release.artifact.identity);
        if same {
            plugin.serving = Some(release);
        } else {
            plugin.serve(release, Vec::new(), self.config.deploy.keep);
        }
    }
}

/// The plugins that a configuration needs or declares, each with the configuration key that names it.
fn wanted_plugins(config: &Config) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<_, _> =
        config.plugins.keys().map(|name| (name.clone(), format!("plugins.{name}"))).collect();
    for (name, pipeline) in &config.pipelines {
        for (key, stage) in pipeline.stages() {
            wanted.entry(stage.plugin.clone()).or_insert_with(|| format!("pipelines.{name}.{key}.plugin"));
        }
    }
    wanted
}

/// The error for an unknown plugin: says where it was searched for.
fn unknown(config: &Config, name: &str) -> NoRelease {
    if let Some(file) = declared(config, name) {
        let file = config.resolve(file);
        let reason =
            look_at_regular_file(&file).map_or_else(|error| error.to_string(), |_| "there is no such file".to_owned());
        let reason = format!("{} cannot be read: {reason}", file.display());
        return NoRelease::Unknown { reason, is_temporary: false };
    }
    let folder = config.plugin_dir();
    let file = folder.join(format!("{name}.wasm"));
    let folder_error = list_folder(&folder).err().filter(|error| error.kind() != std::io::ErrorKind::NotFound);
    let is_temporary = folder_error.as_ref().is_some_and(|error| Lack::of(error).is_some());
    let (what, reason) = match (folder_error, look_at_regular_file(&file)) {
        (Some(error), _) => (folder, format!("cannot be read: {error}")),
        (None, Err(error)) => (file, format!("cannot be read: {error}")),
        (None, Ok(_)) => (file, "does not exist".to_owned()),
    };
    let known: Vec<_> = bundled::names().collect();
    let reason = format!(
        "there is no plugin `{name}`: {} {reason}, and the bundled plugins are {}",
        what.display(),
        known.join(", ")
    );
    NoRelease::Unknown { reason, is_temporary }
}
