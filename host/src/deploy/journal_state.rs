//! The content of the journal: the versions of every plugin, and the files that were handled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::file_fingerprint::FileFingerprint;
use super::folder_look::KnownFolders;
use super::release::{Release, ReleaseSource};

/// The journal's content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalState {
    /// The records by plugin.
    pub plugins: BTreeMap<String, PluginRecord>,
    /// The folders in which component files were found.
    #[serde(default)]
    pub folders: KnownFolders,
}

/// The record of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// The version that serves.
    pub serving: Option<VersionRecord>,
    /// The version on canary.
    #[serde(default)]
    pub candidate: Option<VersionRecord>,
    /// The versions that served before, the latest first.
    pub previous: Vec<VersionRecord>,
    /// Files and references that were handled, with their digests at that time.
    #[serde(rename = "seen")]
    pub handled: BTreeMap<String, HandledFile>,
    /// The digests of versions that were rolled back, the latest first. Journals of older versions do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<String>,
}

/// The record of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub(super) version: String,
    /// SHA-256 of the component.
    pub digest: String,
    source: String,
    pub(super) manifest: String,
    pub(super) manifest_path: PathBuf,
    pub(super) at: SystemTime,
}

/// A file that was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledFile {
    /// SHA-256 of the component.
    pub digest: String,
    /// The fingerprint of the file; the default value for a reference to a registry.
    pub fingerprint: FileFingerprint,
}

impl VersionRecord {
    /// Creates the record of a release.
    pub fn of(release: &Release) -> Self {
        let identity = &release.artifact.identity;
        Self {
            version: identity.version.to_string(),
            digest: identity.digest.to_string(),
            source: release.source.to_string(),
            manifest: release.manifest.text.clone(),
            manifest_path: release.manifest.path.clone(),
            at: release.at,
        }
    }

    /// Where the release came from.
    pub fn source(&self) -> ReleaseSource {
        ReleaseSource::parse(&self.source)
    }

    /// Returns true if the release is bundled in the binary.
    pub fn is_bundled(&self) -> bool {
        self.source() == ReleaseSource::Bundled
    }
}
