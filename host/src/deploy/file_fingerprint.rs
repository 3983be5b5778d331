//! The fingerprint of a component file and its manifest.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::release::manifest_beside;
use crate::base::files::{FileStat, stat};

/// The file metadata of a component file and its manifest. It changes if either file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileFingerprint {
    component: FileStat,
    manifest: FileStat,
}

impl FileFingerprint {
    /// The fingerprint of the component of the plugin `name`; `None` if there is no such file.
    pub fn read(name: &str, component: &Path) -> Option<Self> {
        let manifest = manifest_beside(name, component).and_then(|path| stat(&path)).unwrap_or_default();
        Some(Self { component: stat(component)?, manifest })
    }
}
