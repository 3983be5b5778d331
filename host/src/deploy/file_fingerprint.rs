//! The fingerprint of a component file and its manifest.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::release::manifest_beside;
use crate::base::file_access::within_time;
use crate::base::files::{ChangeTime, FileStat, look_at_regular_file};

/// The file metadata of a component file and its manifest. It changes if either file changes, also if only the owner or
/// the permissions of a file change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileFingerprint {
    component: FileStat,
    manifest: FileStat,
    /// When the metadata of the component and of the manifest changed. Journals of older versions do not have it.
    #[serde(default)]
    changed: [ChangeTime; 2],
}

impl FileFingerprint {
    /// The fingerprint of the component of the plugin `name`; `None` if there is no such file.
    ///
    /// # Errors
    /// If the component or its manifest cannot be looked at in time, or is not a regular file.
    pub fn read(name: &str, component: &Path) -> io::Result<Option<Self>> {
        let (name, of) = (name.to_owned(), component.to_owned());
        within_time(component, move || Self::look(&name, &of))
    }

    fn look(name: &str, component: &Path) -> io::Result<Option<Self>> {
        let Some((stat, changed)) = look_at_regular_file(component)? else { return Ok(None) };
        let manifest = manifest_beside(name, component)?.map(|path| look_at_regular_file(&path)).transpose()?.flatten();
        let (manifest, manifest_changed) = manifest.unwrap_or_default();
        Ok(Some(Self { component: stat, manifest, changed: [changed, manifest_changed] }))
    }

    /// The size of the component in bytes.
    pub fn size(&self) -> u64 {
        self.component.0
    }
}
