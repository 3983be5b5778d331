//! The files of a model: its own, and those with its weights.

use std::path::Path;
use std::sync::{Arc, Weak};

use plimsoll_runtime::identity::digest;
use plimsoll_runtime::nn::external_files;

use super::file_store_error::FileStoreError;
use crate::base::files::is_outside;
use crate::base::oci::StoredModel;
use crate::config::{Config, PullError, ReadError};

/// The files of a model.
pub(super) struct ModelFiles {
    /// The model.
    pub(super) bytes: Arc<Vec<u8>>,
    /// The files next to it that contain its weights, by their paths in the model.
    pub(super) external: Vec<(String, Arc<Vec<u8>>)>,
}

impl ModelFiles {
    /// Reads a model and the files that it names, with `read`.
    pub(super) fn read(
        config: &Config,
        path: &Path,
        mut read: impl FnMut(&Path) -> Result<Arc<Vec<u8>>, ReadError>,
    ) -> Result<Self, FileStoreError> {
        let stored = config.stored_model(path).map_err(FileStoreError::Registry)?;
        let found = stored.as_ref().map_or_else(|| path.to_owned(), StoredModel::path);
        let path = &*found;
        let check = |path: &Path, bytes: &[u8]| match &stored {
            Some(stored) => stored.check(path, bytes).map_err(|error| FileStoreError::Registry(PullError::new(error))),
            None => Ok(()),
        };
        let bytes = read(path).map_err(FileStoreError::Model)?;
        check(path, &bytes)?;
        let locations = external_files(&bytes);
        let locations = locations.map_err(|error| FileStoreError::Locations { path: path.to_owned(), error })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |location: String| {
            let beside = folder.join(&location);
            let weights = config.resolve(&beside);
            if is_outside(&config.resolve(folder), &weights) {
                return Err(FileStoreError::WeightsOutside { path: path.to_owned(), weights });
            }
            match read(&beside) {
                Ok(bytes) => check(&beside, &bytes).map(|()| (location, bytes)),
                Err(error) => Err(FileStoreError::Weights { path: path.to_owned(), error }),
            }
        };
        let external = locations.into_iter().map(beside).collect::<Result<_, _>>()?;
        Ok(Self { bytes, external })
    }

    /// The size of all files.
    pub(super) fn size(&self) -> u64 {
        let external = self.external.iter().map(|(_, bytes)| bytes.len() as u64);
        self.bytes.len() as u64 + external.sum::<u64>()
    }

    /// The digest of the model file, or of all files if the model has several.
    pub(super) fn digest(&self) -> String {
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
pub(super) struct WeakFiles {
    bytes: Weak<Vec<u8>>,
    external: Vec<(String, Weak<Vec<u8>>)>,
}

impl WeakFiles {
    pub(super) fn new(files: &ModelFiles) -> Self {
        let external = files.external.iter().map(|(location, bytes)| (location.clone(), Arc::downgrade(bytes)));
        Self { bytes: Arc::downgrade(&files.bytes), external: external.collect() }
    }

    /// `None` if no stage has one of the files any more.
    pub(super) fn upgrade(&self) -> Option<ModelFiles> {
        let external = self.external.iter().map(|(location, bytes)| Some((location.clone(), bytes.upgrade()?)));
        Some(ModelFiles { bytes: self.bytes.upgrade()?, external: external.collect::<Option<_>>()? })
    }
}
