//! Reads the files that a configuration names before it is served, outside of all locks. A disk that is slow delays only this
//! configuration, and no deployment or rollback.
//!
//! Only what will be needed stays in memory: of a model that is loaded already and whose file has not changed, only the
//! digest is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model_files::ModelFiles;
use crate::config::{Config, ReadError};

/// Files that were read before a change.
#[derive(Default)]
pub(super) struct ReadAhead {
    /// Files by their paths in the configuration. An error is not tried again, because that may take long.
    files: HashMap<PathBuf, Result<Arc<Vec<u8>>, ReadError>>,
    /// The digests of loaded models whose files have not changed.
    unchanged: HashMap<String, String>,
}

impl ReadAhead {
    /// Reads the models, assets and samples of a configuration. `loaded` has the digests of the models that need not be
    /// loaded again if their files have not changed.
    pub(super) fn read(config: &Config, loaded: &HashMap<String, String>) -> Self {
        let mut this = Self::default();
        for (name, model) in &config.models {
            let mut files = Vec::new();
            let read = ModelFiles::read(config, &model.file, |path| {
                let bytes = config.read(path).map(Arc::new);
                files.push((path.to_owned(), bytes.clone()));
                bytes
            });
            match (read, loaded.get(name)) {
                (Ok(read), Some(digest)) if read.digest() == *digest => {
                    this.unchanged.insert(name.clone(), digest.clone());
                }
                _ => this.files.extend(files),
            }
        }
        for pipeline in config.pipelines.values() {
            let stages = pipeline.stages().into_iter();
            for path in stages.flat_map(|(_, stage)| stage.assets.values()).chain(&pipeline.sample) {
                if !this.files.contains_key(path) {
                    this.files.insert(path.clone(), config.read(path).map(Arc::new));
                }
            }
        }
        this
    }

    /// The content of a file; `None` if it was not read before the change.
    pub(super) fn file(&self, path: &Path) -> Option<Result<Arc<Vec<u8>>, ReadError>> {
        self.files.get(path).cloned()
    }

    /// Returns true if the file of the loaded model with this digest has not changed.
    pub(super) fn is_unchanged(&self, model: &str, digest: &str) -> bool {
        self.unchanged.get(model).is_some_and(|unchanged| unchanged == digest)
    }
}
