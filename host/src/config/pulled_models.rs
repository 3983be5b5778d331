//! The models of registries, after they were pulled.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The models of registries.
#[derive(Debug, Clone, Default)]
pub struct PulledModels {
    /// The folder in which they are, if it is not the one that the configuration names: it does not change before the next
    /// start.
    pub folder: Option<PathBuf>,
    /// Why the others were not pulled, by their references.
    pub failures: BTreeMap<String, String>,
}
