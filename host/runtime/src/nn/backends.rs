//! The list of backends. To add one, write a file in this folder with an `ENTRY`, and add its name to the list.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{LoadError, SettingsError};
use super::model::{Backend, BackendEntry, BackendSettings};

macro_rules! backends {
    ($($module:ident),*) => {
        $(pub mod $module;)*

        /// Every backend, the default one first.
        const BACKENDS: &[&BackendEntry] = &[$(&$module::ENTRY),*];
    };
}

backends![rten, onnxruntime];

/// The backends that this program added to the list.
static ADDED: RwLock<Vec<&'static BackendEntry>> = RwLock::new(Vec::new());

/// Adds a backend to the list of this process, for example a simulated device in a test. Call it before a configuration
/// is read. A name that is in the list keeps its backend.
pub fn add(entry: &'static BackendEntry) {
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    if BACKENDS.iter().chain(added.iter()).all(|known| known.name != entry.name) {
        added.push(entry);
    }
}

/// The name of a backend in the list.
#[derive(Clone, Copy)]
pub struct BackendName(&'static BackendEntry);

impl BackendName {
    /// The names of all backends.
    pub fn all() -> impl Iterator<Item = Self> {
        let added = ADDED.read().unwrap_or_else(PoisonError::into_inner).clone();
        BACKENDS.iter().copied().chain(added).map(Self)
    }

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Checks the settings of this backend.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn check(self, settings: &BackendSettings) -> Result<(), SettingsError> {
        (self.0.check)(settings)
    }

    /// Opens the backend. Relative paths in the settings start at `folder`.
    ///
    /// # Errors
    /// If the backend's library cannot be loaded; the message says how to fix it.
    pub fn open(self, settings: &BackendSettings, folder: &Path) -> Result<Box<dyn Backend>, LoadError> {
        (self.0.open)(settings, folder)
    }
}

impl Default for BackendName {
    fn default() -> Self {
        Self(BACKENDS[0])
    }
}

impl PartialEq for BackendName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for BackendName {}

impl std::hash::Hash for BackendName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BackendName {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        Self::all().find(|name| name.as_str() == text).ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

/// A text that does not name a backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no backend `{0}`; use `{known}`", known = BackendName::all().map(BackendName::as_str).collect::<Vec<_>>().join("` or `"))]
pub struct UnknownBackend(pub String);

impl<'de> Deserialize<'de> for BackendName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
