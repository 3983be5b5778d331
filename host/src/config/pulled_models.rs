//! The models of registries, after they were pulled.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use plimsoll_runtime::lack::Lack;

use crate::base::oci::{OciError, StoredModelError};

/// Why something of a registry is not there. It is only text, because a rehearsal and the change itself report it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct PullError {
    reason: String,
    /// The registry could not be asked, or the host had no room, so that it is tried again.
    pub is_temporary: bool,
}

impl PullError {
    /// An error that is not tried again.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_temporary: false }
    }

    /// The error of a model that was stored before.
    pub(super) fn of_stored(reference: &str, error: &StoredModelError) -> Self {
        let is_temporary = matches!(error, StoredModelError::Unreadable { error, .. } if Lack::of(error).is_some());
        Self { is_temporary, ..Self::new(format!("{reference}: {error}")) }
    }
}

impl From<OciError> for PullError {
    fn from(error: OciError) -> Self {
        Self { is_temporary: error.is_temporary(), ..Self::new(error) }
    }
}

/// The models of registries.
#[derive(Debug, Clone, Default)]
pub struct PulledModels {
    /// The folder in which they are, if it is not the one that the configuration names: it does not change before the next
    /// start.
    pub folder: Option<PathBuf>,
    /// Why the others were not pulled, by their references.
    pub failures: BTreeMap<String, PullError>,
}
