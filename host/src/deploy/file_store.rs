//! The files that the configuration names: models, assets and samples. Each file is read once. A new configuration
//! reads the files again; a deployment of a plugin does not.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plimsoll_runtime::component::CompiledCache;
use plimsoll_runtime::nn::{Backend, BackendName, Device, LoadError, LoadedModel, ModelSource};
use plimsoll_runtime::stage::Asset;
use tokio::sync::Semaphore;

use super::file_store_error::FileStoreError;
use super::manifest::ManifestError;
use super::manifest_assets::ManifestAssets;
use super::model_files::{ModelFiles, WeakFiles};
use super::model_load::{HangingLoads, ModelLoad, batches, check_memory};
use super::read_ahead::ReadAhead;
use super::release::Release;
use super::trial_load::FirstLoad;
use crate::config::{self, Config, ReadError};
use crate::records::metrics::{BatchMetrics, ModelMemory};

/// A backend whose library is loaded.
type OpenBackend = Arc<dyn Backend>;

/// Loads and keeps files. A clone shares what was read so far.
#[derive(Clone)]
pub struct FileStore {
    backends: HashMap<BackendName, OpenBackend>,
    /// Bound the concurrent runs of a backend on a device: one that hangs must not keep the models of others from running.
    permits: HashMap<(BackendName, String), Arc<Semaphore>>,
    files: Files,
    /// How often the files were read again for a new configuration.
    generation: u64,
    /// The files that were read before the present change.
    ahead: Arc<ReadAhead>,
    batches: BatchMetrics,
    memory: ModelMemory,
    hanging: HangingLoads,
    /// Remembers the models that were loaded in a process of their own before.
    cache: Option<Arc<CompiledCache>>,
}

/// The files that were read.
#[derive(Clone, Default)]
struct Files {
    models: HashMap<String, KnownModel>,
    /// Assets and samples by the paths in the configuration.
    assets: HashMap<PathBuf, Asset>,
    manifest_assets: ManifestAssets,
}

#[derive(Clone)]
struct KnownModel {
    /// The settings that it was loaded with.
    settings: config::Model,
    model: Arc<LoadedModel>,
    files: WeakFiles,
    /// True if the file was read after the current configuration was loaded.
    is_checked: bool,
}

impl FileStore {
    /// Creates an empty store. `batches` counts the batches of models, `memory` their memory.
    pub fn new(batches: BatchMetrics, memory: ModelMemory, cache: Option<Arc<CompiledCache>>) -> Self {
        Self {
            backends: HashMap::new(),
            permits: HashMap::new(),
            files: Files::default(),
            generation: 0,
            ahead: Arc::default(),
            batches,
            memory,
            hanging: HangingLoads::default(),
            cache,
        }
    }

    /// Makes the next build read every file again, for a new configuration. It takes those that were read before the change
    /// from `ahead`.
    pub(super) fn invalidate(&mut self, ahead: Arc<ReadAhead>) {
        self.ahead = ahead;
        self.generation += 1;
        self.files.assets.clear();
        self.files.manifest_assets.invalidate();
        self.files.models.values_mut().for_each(|known| known.is_checked = false);
    }

    /// A number that is higher for the files of a later configuration.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Drops what was read before a change. Call this after the change.
    pub(super) fn forget_read(&mut self) {
        self.ahead = Arc::default();
    }

    /// The digests of the models that need not be loaded again for a configuration if their files have not changed.
    pub(super) fn loaded_models(&self, config: &Config) -> HashMap<String, String> {
        let models = config.models.iter().filter_map(|(name, wanted)| {
            let known = self.files.models.get(name).filter(|known| known.settings.runs_like(wanted))?;
            Some((name.clone(), known.model.digest().to_owned()))
        });
        models.collect()
    }

    /// Drops the models that are no longer configured, and the assets that no stage has any more.
    pub(super) fn retain_files(&mut self, config: &Config) {
        self.files.manifest_assets.retain_used();
        self.files.models.retain(|name, _| config.models.contains_key(name));
    }

    /// An asset or a sample that the configuration names.
    pub(super) fn asset(&mut self, config: &Config, path: &Path) -> Result<Asset, FileStoreError> {
        if let Some(known) = self.files.assets.get(path) {
            return Ok(known.clone());
        }
        let asset = Asset::new(self.read(config, path).map_err(FileStoreError::Asset)?);
        self.files.assets.insert(path.to_owned(), asset.clone());
        Ok(asset)
    }

    /// The assets in the folder that the manifest of a release names.
    pub(super) fn manifest_assets(&mut self, release: &Release) -> Result<BTreeMap<String, Asset>, ManifestError> {
        self.files.manifest_assets.get(release)
    }

    fn read(&self, config: &Config, path: &Path) -> Result<Arc<Vec<u8>>, ReadError> {
        self.ahead.file(path).unwrap_or_else(|| config.read(path).map(Arc::new))
    }

    /// Marks a model whose file has not changed, as the read before the change found.
    fn accept_unchanged(&mut self, wanted: &config::Model, name: &str) -> Result<(), FileStoreError> {
        if let Some(known) = self.files.models.get_mut(name)
            && !known.is_checked
            && known.settings.runs_like(wanted)
            && self.ahead.is_unchanged(name, known.model.digest())
        {
            check_memory(&known.model, wanted)?;
            known.is_checked = true;
        }
        Ok(())
    }

    /// A model that the configuration names.
    pub(super) fn model(&mut self, config: &Config, name: &str) -> Result<Arc<LoadedModel>, FileStoreError> {
        if let Some(wanted) = config.models.get(name) {
            self.accept_unchanged(wanted, name)?;
        }
        match self.files.models.get(name) {
            Some(known) if known.is_checked && config.models.contains_key(name) => Ok(Arc::clone(&known.model)),
            _ => Ok(self.model_with_files(config, name)?.0),
        }
    }

    /// A model that the configuration names, and its files, which are read again if no stage has them.
    pub(super) fn model_with_files(
        &mut self,
        config: &Config,
        name: &str,
    ) -> Result<(Arc<LoadedModel>, ModelFiles), FileStoreError> {
        let Some(wanted) = config.models.get(name) else {
            let known: Vec<_> = config.models.keys().map(String::as_str).collect();
            return Err(FileStoreError::UnknownModel { name: name.to_owned(), known: known.join(", ") });
        };
        self.accept_unchanged(wanted, name)?;
        if let Some(known) = self.files.models.get(name).filter(|known| known.is_checked)
            && let Some(files) = known.files.upgrade()
        {
            return Ok((Arc::clone(&known.model), files));
        }
        let files = ModelFiles::read(config, &wanted.file, |path| self.read(config, path))?;
        let digest = files.digest();
        if let Some(known) = self.files.models.get(name)
            && known.is_checked
            && known.model.digest() != digest
        {
            return Err(FileStoreError::Changed { path: wanted.file.clone() });
        }
        let is_same = |known: &&mut KnownModel| known.model.digest() == digest && known.settings.runs_like(wanted);
        if let Some(known) = self.files.models.get_mut(name).filter(is_same) {
            check_memory(&known.model, wanted)?;
            known.is_checked = true;
            // Stages keep the bytes that they were built with. Those are equal, so the new copy is dropped.
            let files = known.files.upgrade().unwrap_or(files);
            known.files = WeakFiles::new(&files);
            return Ok((Arc::clone(&known.model), files));
        }
        let scheduling = config.server.scheduling();
        let backend = self.backend(config, wanted.backend)?;
        let permits = self.permits(wanted.backend, &wanted.device);
        let source = ModelSource {
            name: name.to_owned(),
            path: wanted.file.clone(),
            bytes: Arc::clone(&files.bytes),
            external: files.external.clone(),
            device: wanted.device.clone(),
            options: wanted.options(),
        };
        tracing::info!("loading the model {name} …");
        let settings = config.backends.of(wanted.backend);
        let folder = config.resolve(Path::new(""));
        let first = FirstLoad { source: &source, wanted, settings: &settings, folder: &folder };
        first.make(&digest, &*backend, self.cache.as_deref())?;
        let batches = batches(wanted, &source, &self.batches);
        let load = ModelLoad {
            digest,
            backend,
            permits,
            source,
            file_bytes: files.size(),
            batches,
            scheduling,
            wanted: wanted.clone(),
        };
        let model = load.load(&self.hanging)?;
        let model = Arc::new(model.with_health(wanted.health_rules(), self.batches.devices.for_model(name)));
        self.memory.follow(&model);
        let known = KnownModel {
            settings: wanted.clone(),
            model: Arc::clone(&model),
            files: WeakFiles::new(&files),
            is_checked: true,
        };
        self.files.models.insert(name.to_owned(), known);
        Ok((model, files))
    }

    fn backend(&mut self, config: &Config, name: BackendName) -> Result<OpenBackend, LoadError> {
        if let Some(known) = self.backends.get(&name) {
            return Ok(Arc::clone(known));
        }
        let folder = config.resolve(Path::new(""));
        let backend: OpenBackend = name.open(&config.backends.of(name), &folder)?.into();
        self.backends.insert(name, Arc::clone(&backend));
        Ok(backend)
    }

    fn permits(&mut self, backend: BackendName, device: &Device) -> Arc<Semaphore> {
        // More concurrent runs than cores would only slow each other down.
        let cores = || Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
        Arc::clone(self.permits.entry((backend, device.to_string())).or_insert_with(cores))
    }
}
