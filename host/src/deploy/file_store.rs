//! The files that the configuration names: models, assets and samples. Each file is read once. A new configuration
//! reads the files again; a deployment of a plugin does not.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytesize::ByteSize;
use plimsoll_runtime::identity::digest;
use plimsoll_runtime::nn::{
    Backend, BackendName, Batches, Device, LoadError, LoadFigures, LoadedModel, Model, ModelSource, external_files,
    prove_rows,
};
use plimsoll_runtime::stage::Asset;
use tokio::sync::Semaphore;

use super::file_store_error::FileStoreError;
use crate::base::allocator::trim;
use crate::base::files::is_outside;
use crate::base::process::resident_memory;
use crate::config::{self, Config};
use crate::records::metrics::{BatchMetrics, ModelMemory};

/// The most bytes of a model that is also loaded on the CPU, to compare the outputs. Each session has a copy of the weights.
const MAX_COMPARED: usize = 256 << 20;

/// A backend, and the semaphore that limits its concurrent runs.
type OpenBackend = (Arc<dyn Backend>, Arc<Semaphore>);

/// Loads and keeps files. A clone shares what was read so far.
#[derive(Clone)]
pub struct FileStore {
    backends: HashMap<BackendName, OpenBackend>,
    files: Files,
    batches: BatchMetrics,
    memory: ModelMemory,
}

/// The files that were read.
#[derive(Clone, Default)]
struct Files {
    models: HashMap<String, KnownModel>,
    /// Assets and samples by the paths in the configuration.
    assets: HashMap<PathBuf, Asset>,
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

/// The files of a model.
pub(super) struct ModelFiles {
    /// The model.
    pub(super) bytes: Arc<Vec<u8>>,
    /// The files next to it that contain its weights, by their paths in the model.
    pub(super) external: Vec<(String, Arc<Vec<u8>>)>,
}

impl ModelFiles {
    /// Reads a model and the files that it names.
    fn read(config: &Config, path: &Path) -> Result<Self, FileStoreError> {
        let bytes = config.read(path).map_err(FileStoreError::Model)?;
        let locations = external_files(&bytes);
        let locations = locations.map_err(|error| FileStoreError::Locations { path: path.to_owned(), error })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = |location: String| {
            let beside = folder.join(&location);
            let weights = config.resolve(&beside);
            if is_outside(&config.resolve(folder), &weights) {
                return Err(FileStoreError::WeightsOutside { path: path.to_owned(), weights });
            }
            match config.read(&beside) {
                Ok(bytes) => Ok((location, Arc::new(bytes))),
                Err(error) => Err(FileStoreError::Weights { path: path.to_owned(), error }),
            }
        };
        let external = locations.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { bytes: Arc::new(bytes), external })
    }

    /// The size of all files.
    fn size(&self) -> u64 {
        let external = self.external.iter().map(|(_, bytes)| bytes.len() as u64);
        self.bytes.len() as u64 + external.sum::<u64>()
    }

    /// The digest of the model file, or of all files if the model has several.
    fn digest(&self) -> String {
        let model = digest(&self.bytes);
        if self.external.is_empty() {
            return model;
        }
        let files = self.external.iter().map(|(location, bytes)| format!("{location}\0{}\n", digest(bytes)));
        digest(format!("{model}\n{}", files.collect::<String>()).as_bytes())
    }
}

/// The files of a model. They stay in memory only while a stage has each of them as an asset.
#[derive(Clone)]
struct WeakFiles {
    bytes: Weak<Vec<u8>>,
    external: Vec<(String, Weak<Vec<u8>>)>,
}

impl WeakFiles {
    fn new(files: &ModelFiles) -> Self {
        let external = files.external.iter().map(|(location, bytes)| (location.clone(), Arc::downgrade(bytes)));
        Self { bytes: Arc::downgrade(&files.bytes), external: external.collect() }
    }

    /// `None` if no stage has one of the files any more.
    fn upgrade(&self) -> Option<ModelFiles> {
        let external = self.external.iter().map(|(location, bytes)| Some((location.clone(), bytes.upgrade()?)));
        Some(ModelFiles { bytes: self.bytes.upgrade()?, external: external.collect::<Option<_>>()? })
    }
}

/// The resident memory of the process without what the allocator only keeps.
fn settled_memory() -> Option<u64> {
    trim();
    resident_memory()
}

fn check_memory(model: &LoadedModel, wanted: &config::Model) -> Result<(), FileStoreError> {
    let (Some(cap), Some(memory)) = (wanted.max_device_memory, model.memory()) else { return Ok(()) };
    if memory.admitted <= cap.as_u64() {
        return Ok(());
    }
    let (model, target) = (model.name().to_owned(), model.target().to_owned());
    Err(FileStoreError::Memory { model, target, memory, cap })
}

/// The same model on the CPU, to compare its outputs. `None` if its copies of the weights would need too much memory.
fn load_on_cpu(backend: &dyn Backend, source: ModelSource) -> Result<Option<Box<dyn Model>>, LoadError> {
    let external = source.external.iter().map(|(_, bytes)| bytes.len());
    let bytes = source.bytes.len() + external.sum::<usize>();
    if bytes > MAX_COMPARED {
        let (name, limit) = (&source.name, ByteSize::b(MAX_COMPARED as u64));
        tracing::info!(
            "model {name}: its outputs are not compared with those on the CPU, because it has more than {limit}"
        );
        return Ok(None);
    }
    let source = ModelSource { device: Device::Cpu, options: BTreeMap::new(), ..source };
    backend.load(&source).map(Some)
}

impl FileStore {
    /// Creates an empty store. `batches` counts the batches of models, `memory` their memory.
    pub fn new(batches: BatchMetrics, memory: ModelMemory) -> Self {
        Self { backends: HashMap::new(), files: Files::default(), batches, memory }
    }

    /// Makes the next build read every file again, for a new configuration.
    pub(super) fn invalidate(&mut self) {
        self.files.assets.clear();
        self.files.models.values_mut().for_each(|known| known.is_checked = false);
    }

    /// Drops the models that are no longer configured.
    pub(super) fn retain_models(&mut self, config: &Config) {
        self.files.models.retain(|name, _| config.models.contains_key(name));
    }

    /// An asset or a sample that the configuration names.
    pub(super) fn asset(&mut self, config: &Config, path: &Path) -> Result<Asset, FileStoreError> {
        if let Some(known) = self.files.assets.get(path) {
            return Ok(known.clone());
        }
        let asset = Asset::new(Arc::new(config.read(path).map_err(FileStoreError::Asset)?));
        self.files.assets.insert(path.to_owned(), asset.clone());
        Ok(asset)
    }

    /// A model that the configuration names.
    pub(super) fn model(&mut self, config: &Config, name: &str) -> Result<Arc<LoadedModel>, FileStoreError> {
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
        if let Some(known) = self.files.models.get(name).filter(|known| known.is_checked)
            && let Some(files) = known.files.upgrade()
        {
            return Ok((Arc::clone(&known.model), files));
        }
        let files = ModelFiles::read(config, &wanted.file)?;
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
        let batches = wanted.batch_rules().map(|rules| Batches {
            rules,
            sizes: wanted.batch_sizes(),
            observer: self.batches.for_model(name),
            proof: prove_rows(&files.bytes),
            accepts_unproven: wanted.max_batch_unproven,
        });
        let scheduling = config.server.scheduling();
        let (backend, permits) = self.backend(config, wanted.backend)?;
        let source = ModelSource {
            name: name.to_owned(),
            path: wanted.file.clone(),
            bytes: Arc::clone(&files.bytes),
            external: files.external.clone(),
            device: wanted.device.clone(),
            options: wanted.options(),
        };
        tracing::info!("loading the model {name} …");
        let file_bytes = files.size();
        let before = settled_memory();
        let loaded = backend.load(&source)?;
        let model = LoadedModel::new(name.to_owned(), digest, loaded, Arc::clone(permits), batches, scheduling);
        let model = model?.with_size_limit(&files.bytes).on(wanted.backend.as_str(), &wanted.device);
        let grown = settled_memory().zip(before).map(|(after, before)| after.saturating_sub(before));
        let mut model = model.with_memory(LoadFigures { resident: grown, files: file_bytes });
        check_memory(&model, wanted)?;
        // Only now, so that the copy on the CPU is not measured.
        if wanted.compare_with_cpu
            && wanted.device != Device::Cpu
            && let Some(cpu) = load_on_cpu(&**backend, source)?
        {
            model = model.compared_with(&*cpu)?;
        }
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

    fn backend(&mut self, config: &Config, name: BackendName) -> Result<&OpenBackend, LoadError> {
        let entry = match self.backends.entry(name) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let folder = config.resolve(Path::new(""));
        let backend = name.open(&config.backends.of(name), &folder)?;
        // More concurrent runs than cores would only slow each other down.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(entry.insert((backend.into(), Arc::new(Semaphore::new(cores)))))
    }
}
