//! The models that a configuration names in registries, as they are stored.

use std::path::{Path, PathBuf};

use super::file::Config;
use super::model::reference_of;
use super::pulled_models::PullError;
use crate::base::oci::{OciError, OciReference, StoredModel};

impl Config {
    /// The folder of the models of registries.
    pub fn models_dir(&self) -> PathBuf {
        self.pulled.folder.clone().unwrap_or_else(|| self.data_dir().join("models"))
    }

    /// The references of models, each once.
    pub fn model_references(&self) -> Vec<OciReference> {
        let mut references: Vec<OciReference> = Vec::new();
        for reference in self.models.values().filter_map(|model| model.reference()?.parse().ok()) {
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
        references
    }

    /// The stored model of a registry; `None` for a file.
    ///
    /// # Errors
    /// If it was not pulled, or was changed afterwards.
    pub fn stored_model(&self, file: &Path) -> Result<Option<StoredModel>, PullError> {
        let Some(reference) = reference_of(file) else { return Ok(None) };
        let parsed: OciReference = reference.parse().map_err(|error: OciError| PullError::from(error))?;
        if let Some(failure) = self.pulled.failures.get(&parsed.to_string()) {
            return Err(failure.clone());
        }
        let stored = StoredModel::find(&self.models_dir(), &parsed);
        stored.map(Some).map_err(|error| PullError::of_stored(reference, &error))
    }
}
