//! The files that the configuration names: models, assets and samples. A file is read once; a deployment of a plugin does
//! not read it again, a new configuration does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use plimsoll_runtime::identity::digest;
use plimsoll_runtime::nn::{Backend, BackendName, Device, LoadError, LoadedModel, ModelSource};
use plimsoll_runtime::stage::Asset;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::records::metrics::BatchMetrics;

/// A backend with the bound on its concurrent runs.
type OpenBackend = (Box<dyn Backend>, Arc<Semaphore>);

/// Loads files, and keeps them.
pub struct FileStore {
    backends: HashMap<BackendName, OpenBackend>,
    files: Files,
    batches: BatchMetrics,
}

/// The files that were read.
#[derive(Clone, Default)]
pub(super) struct Files {
    models: HashMap<String, KnownModel>,
    /// Assets and samples by the paths in the configuration.
    assets: HashMap<PathBuf, Asset>,
}

#[derive(Clone)]
struct KnownModel {
    backend: BackendName,
    device: Device,
    model: Arc<LoadedModel>,
    /// Dropped when no stage has the file as an asset.
    bytes: Weak<Vec<u8>>,
    /// True if the file was read since the configuration was.
    is_checked: bool,
}

impl FileStore {
    /// Nothing is loaded yet. `batches` counts the batches of models.
    pub fn new(batches: BatchMetrics) -> Self {
        Self { backends: HashMap::new(), files: Files::default(), batches }
    }

    /// Makes the next build read every file again, for a new configuration. Returns the files that were read, so that
    /// [`FileStore::restore`] can bring them back if the new configuration is rejected.
    pub(super) fn invalidate(&mut self) -> Files {
        let before = self.files.clone();
        self.files.assets.clear();
        self.files.models.values_mut().for_each(|known| known.is_checked = false);
        before
    }

    /// Brings back the files that were read before.
    pub(super) fn restore(&mut self, before: Files) {
        self.files = before;
    }

    /// Drops the models that the configuration no longer has.
    pub(super) fn retain_models(&mut self, config: &Config) {
        self.files.models.retain(|name, _| config.models.contains_key(name));
    }

    /// An asset or a sample that the configuration names.
    pub(super) fn asset(&mut self, config: &Config, path: &Path) -> Result<Asset, String> {
        if let Some(known) = self.files.assets.get(path) {
            return Ok(known.clone());
        }
        let asset = Asset::new(Arc::new(config.read(path)?));
        self.files.assets.insert(path.to_owned(), asset.clone());
        Ok(asset)
    }

    /// A model that the configuration names, and the bytes of its file.
    pub(super) fn model(&mut self, config: &Config, name: &str) -> Result<(Arc<LoadedModel>, Arc<Vec<u8>>), String> {
        let Some(wanted) = config.models.get(name) else {
            let known: Vec<_> = config.models.keys().map(String::as_str).collect();
            return Err(format!("there is no model `{name}`; declared are [{}]", known.join(", ")));
        };
        if let Some(known) = self.files.models.get(name).filter(|known| known.is_checked)
            && let Some(bytes) = known.bytes.upgrade()
        {
            return Ok((Arc::clone(&known.model), bytes));
        }
        let bytes = Arc::new(config.read(&wanted.file).map_err(|reason| format!("file: {reason}"))?);
        let digest = digest(&bytes);
        let is_same = |known: &&mut KnownModel| {
            known.model.digest() == digest
                && known.backend == wanted.backend
                && known.device == wanted.target
                && known.model.batch_rules() == wanted.batch_rules()
        };
        if let Some(known) = self.files.models.get_mut(name).filter(is_same) {
            known.is_checked = true;
            // The stages hold the bytes that they were built with; these are the same.
            let bytes = known.bytes.upgrade().unwrap_or(bytes);
            known.bytes = Arc::downgrade(&bytes);
            return Ok((Arc::clone(&known.model), bytes));
        }
        let batches = wanted.batch_rules().map(|rules| (rules, self.batches.for_model(name)));
        let scheduling = config.server.scheduling();
        let (backend, permits) = self.backend(config, wanted.backend)?;
        let source = ModelSource {
            name: name.to_owned(),
            path: wanted.file.clone(),
            bytes: Arc::clone(&bytes),
            device: wanted.target,
        };
        let failed = |error: LoadError| error.to_string();
        let loaded = backend.load(&source).map_err(failed)?;
        let model = LoadedModel::new(name.to_owned(), digest, loaded, Arc::clone(permits), batches, scheduling);
        let model = Arc::new(model.map_err(failed)?);
        let known = KnownModel {
            backend: wanted.backend,
            device: wanted.target,
            model: Arc::clone(&model),
            bytes: Arc::downgrade(&bytes),
            is_checked: true,
        };
        self.files.models.insert(name.to_owned(), known);
        Ok((model, bytes))
    }

    fn backend(&mut self, config: &Config, name: BackendName) -> Result<&OpenBackend, String> {
        let entry = match self.backends.entry(name) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let folder = config.resolve(Path::new(""));
        let backend = name.open(&config.backends.of(name), &folder).map_err(|error| error.to_string())?;
        // More concurrent runs than cores would only slow each other down.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(entry.insert((backend, Arc::new(Semaphore::new(cores)))))
    }
}
