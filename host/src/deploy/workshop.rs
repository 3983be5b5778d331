//! From a configuration and one release of each plugin to pipelines that are ready to run. Whatever has been built
//! before and is still the same is taken again, so a change costs only what it changes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use super::building::Building;
use super::release::Release;
use crate::config::{self, BackendName, Config, ConfigError, Target};
use crate::engine::Engines;
use crate::memory::recordings::Recordings;
use crate::metrics::Batches;
use crate::nn::{Backend, LoadError, LoadedModel, ModelSource, onnxruntime::OnnxRuntime, rten::Rten};
use crate::pipeline::Pipeline;
use crate::plugin::cache::CompiledCache;
use crate::plugin::{Preparer, artifact};
use crate::stage::Stage;
use crate::stage::state::Asset;

/// The release that each plugin is to be served with.
pub type Selection = BTreeMap<String, Arc<Release>>;

/// Pipelines by name.
pub type Pipelines = BTreeMap<String, Arc<Pipeline>>;

/// What cannot be built: the key in the configuration, the reason, and the plugin where one is at fault.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct BuildError {
    /// For example `pipelines.digits.preprocess.plugin`.
    pub key: String,
    /// One sentence.
    pub reason: String,
    /// The plugin whose release does not do.
    pub plugin: Option<String>,
}

impl BuildError {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into(), plugin: None }
    }

    pub(super) fn of_plugin(plugin: &str, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { plugin: Some(plugin.to_owned()), ..Self::new(key, reason) }
    }

    /// The same as a refusal of the whole configuration.
    pub fn in_config(self, config: &Config) -> ConfigError {
        ConfigError::new(&config.path, self.key, self.reason)
    }
}

/// Builds pipelines, and keeps what can be used again.
pub struct Workshop {
    pub(super) preparer: Preparer,
    /// Each with the bound on its concurrent runs.
    backends: HashMap<BackendName, (Box<dyn Backend>, Arc<Semaphore>)>,
    models: HashMap<String, KnownModel>,
    /// Assets and samples by the paths that the configuration has, as they were when it was read: a deployment of a plugin
    /// does not change them either.
    assets: HashMap<PathBuf, Asset>,
    batches: Batches,
    /// Every stage that somebody still holds: a pipeline that serves, a version kept for rollback, or the attempt
    /// that goes on.
    pub(super) stages: Vec<Weak<Stage>>,
    /// By pipeline; `None` where inputs are not recorded whatever the configuration says.
    recordings: Option<HashMap<String, Arc<Recordings>>>,
}

/// What was read of the files that the configuration names.
pub(super) struct Files {
    models: HashMap<String, KnownModel>,
    assets: HashMap<PathBuf, Asset>,
}

#[derive(Clone)]
struct KnownModel {
    backend: BackendName,
    target: Target,
    model: Arc<LoadedModel>,
    /// Let go of when no deployment has the file as an asset.
    bytes: Weak<Vec<u8>>,
    /// Whether the file was read since the configuration was; a deployment of a plugin does not change models.
    checked: bool,
}

/// Sessions of a model where nobody says how many: each has the weights once more.
const MAX_SESSIONS: usize = 4;

impl Workshop {
    /// A workshop for one engine, with the compiled cache that the configuration names. A cache that cannot be used
    /// is done without, and the log says so.
    ///
    /// # Errors
    /// A fault of this program, or of the machine.
    pub fn new(engines: &Engines, config: &Config, batches: Batches) -> wasmtime::Result<Self> {
        let cache = match CompiledCache::open(&config.cache_dir(), config.deploy.max_cache.as_u64()) {
            Ok(cache) => Some(cache),
            Err(reason) => {
                tracing::warn!("there is no compiled cache, so every start compiles: {reason}");
                None
            }
        };
        let preparer = Preparer::new(&engines.engine, cache)?;
        Ok(Self {
            preparer,
            backends: HashMap::new(),
            models: HashMap::new(),
            assets: HashMap::new(),
            batches,
            stages: Vec::new(),
            recordings: None,
        })
    }

    /// Makes the pipelines that it builds record inputs where the configuration says so: for a server.
    pub fn record_inputs(&mut self) {
        self.recordings = Some(HashMap::new());
    }

    /// The parts that need no pipeline: for plugins that none uses yet.
    pub fn preparer(&self) -> &Preparer {
        &self.preparer
    }

    /// Builds every pipeline of the configuration with the selected releases. `held` takes the stages that were made,
    /// so that an attempt after a failure finds them.
    ///
    /// # Errors
    /// The first thing that cannot be served.
    pub async fn build(
        &mut self,
        config: &Config,
        selection: &Selection,
        held: &mut Vec<Arc<Stage>>,
    ) -> Result<Pipelines, BuildError> {
        self.stages.retain(|stage| stage.strong_count() > 0);
        for name in config.models.keys() {
            self.model(config, name).map_err(|reason| BuildError::new(format!("models.{name}"), reason))?;
        }
        self.models.retain(|name, _| config.models.contains_key(name));
        if let Some(recordings) = &mut self.recordings {
            recordings.retain(|name, _| config.pipelines.contains_key(name));
        }
        let mut pipelines = BTreeMap::new();
        for (name, pipeline) in &config.pipelines {
            let built = Building { workshop: self, config, selection, held, pipeline: name }.pipeline(pipeline).await?;
            pipelines.insert(name.clone(), Arc::new(built));
        }
        Ok(pipelines)
    }

    /// The recordings of a pipeline: those that are open, unless other bounds are wanted.
    pub(super) fn recordings(&mut self, config: &Config, pipeline: &str) -> Result<Option<Arc<Recordings>>, String> {
        let Some(open) = &mut self.recordings else { return Ok(None) };
        let Some(rules) = config.record_rules(pipeline) else {
            open.remove(pipeline);
            return Ok(None);
        };
        if let Some(known) = open.get(pipeline).filter(|known| known.rules == rules) {
            return Ok(Some(Arc::clone(known)));
        }
        let new = Recordings::open(&rules).map(Arc::new);
        let new = new.map_err(|error| format!("{} cannot hold recordings: {error}", rules.dir.display()))?;
        open.insert(pipeline.to_owned(), Arc::clone(&new));
        Ok(Some(new))
    }

    /// Makes the next build read every file again: for a new configuration. Gives what was read, to be put back where what
    /// is in the files now is not served.
    pub(super) fn forget_files(&mut self) -> Files {
        let before = Files { models: self.models.clone(), assets: std::mem::take(&mut self.assets) };
        self.models.values_mut().for_each(|known| known.checked = false);
        before
    }

    /// Takes the files for what they were.
    pub(super) fn put_back(&mut self, before: Files) {
        let Files { models, assets } = before;
        (self.models, self.assets) = (models, assets);
    }

    /// An asset or a sample that the configuration names.
    pub(super) fn file(&mut self, config: &Config, path: &Path) -> Result<Asset, String> {
        if let Some(known) = self.assets.get(path) {
            return Ok(known.clone());
        }
        let asset = Asset::new(Arc::new(config.read(path)?));
        self.assets.insert(path.to_owned(), asset.clone());
        Ok(asset)
    }

    pub(super) fn model(&mut self, config: &Config, name: &str) -> Result<(Arc<LoadedModel>, Arc<Vec<u8>>), String> {
        let Some(wanted) = config.models.get(name) else {
            let known: Vec<_> = config.models.keys().map(String::as_str).collect();
            return Err(format!("there is no model `{name}`; declared are [{}]", known.join(", ")));
        };
        if let Some(known) = self.models.get(name).filter(|known| known.checked)
            && let Some(bytes) = known.bytes.upgrade()
        {
            return Ok((Arc::clone(&known.model), bytes));
        }
        let bytes = Arc::new(config.read(&wanted.file).map_err(|reason| format!("file: {reason}"))?);
        let digest = artifact::digest(&bytes);
        let same = |known: &&mut KnownModel| {
            known.model.digest() == digest
                && known.backend == wanted.backend
                && known.target == wanted.target
                && known.model.rules() == wanted.batches()
        };
        if let Some(known) = self.models.get_mut(name).filter(same) {
            known.checked = true;
            // The stages hold the bytes that they were built with, and with them this knows the file.
            let bytes = known.bytes.upgrade().unwrap_or(bytes);
            known.bytes = Arc::downgrade(&bytes);
            return Ok((Arc::clone(&known.model), bytes));
        }
        let batches = wanted.batches().map(|rules| (rules, self.batches.of_model(name)));
        let (backend, runs) = self.backend(config, wanted.backend)?;
        let source = ModelSource {
            name: name.to_owned(),
            path: wanted.file.clone(),
            bytes: Arc::clone(&bytes),
            target: wanted.target,
        };
        let told = |error: LoadError| error.to_string();
        let loaded = backend.load(&source).map_err(told)?;
        let model = LoadedModel::new(name.to_owned(), digest, loaded, Arc::clone(runs), batches).map_err(told)?;
        let model = Arc::new(model);
        let known = KnownModel {
            backend: wanted.backend,
            target: wanted.target,
            model: Arc::clone(&model),
            bytes: Arc::downgrade(&bytes),
            checked: true,
        };
        self.models.insert(name.to_owned(), known);
        Ok((model, bytes))
    }

    fn backend(&mut self, config: &Config, name: BackendName) -> Result<&(Box<dyn Backend>, Arc<Semaphore>), String> {
        let entry = match self.backends.entry(name) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let backend: Box<dyn Backend> = match name {
            BackendName::Rten => Box::new(Rten),
            BackendName::OnnxRuntime => {
                let config::OnnxRuntime { library, threads, sessions } = config.backends.onnxruntime.clone();
                let library = library.map(|path| config.resolve(&path));
                let sessions = sessions.unwrap_or_else(|| cores.min(MAX_SESSIONS));
                let backend = OnnxRuntime::new(library, threads.unwrap_or(1), sessions);
                Box::new(backend.map_err(|error| error.to_string())?)
            }
        };
        // More runs than cores only make each other slower.
        Ok(entry.insert((backend, Arc::new(Semaphore::new(cores)))))
    }
}

/// The plugins that the configuration's pipelines use.
pub fn needed(config: &Config) -> BTreeMap<&str, Vec<String>> {
    let mut needed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, pipeline) in &config.pipelines {
        let stages = [&pipeline.preprocess, &pipeline.postprocess].into_iter().chain(pipeline.chips.values());
        for stage in stages {
            let users = needed.entry(&stage.plugin).or_default();
            if !users.contains(name) {
                users.push(name.clone());
            }
        }
    }
    needed
}

/// Where the configuration says that a plugin comes from, if it says so.
pub fn declared<'a>(config: &'a Config, name: &str) -> Option<&'a Path> {
    config.plugins.get(name).and_then(|plugin| plugin.file.as_deref())
}
