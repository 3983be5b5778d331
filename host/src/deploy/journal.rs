//! The state that is kept across restarts: which version of each plugin serves, which versions served before, and which
//! files were already handled. Copies of the components are stored next to the journal, named by their digests.
//!
//! The journal file is replaced by an atomic rename, after the component that it names is on disk. If the process is
//! killed, the file has the state from before or after a change, never a partial one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plimsoll_runtime::component::Artifact;
use serde::{Deserialize, Serialize};

use super::file_fingerprint::FileFingerprint;
use super::manifest::Manifest;
use super::release::{Release, ReleaseSource};

/// The folder of deployments, locked for this process.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Locks the folder while it is open.
    _lock: File,
}

/// The journal's content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalState {
    /// The records by plugin.
    pub plugins: BTreeMap<String, PluginRecord>,
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
}

/// The record of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    version: String,
    /// SHA-256 of the component.
    pub digest: String,
    source: String,
    manifest: String,
    manifest_path: PathBuf,
    at: SystemTime,
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

    /// Returns true if the release is bundled in the binary.
    pub fn is_bundled(&self) -> bool {
        ReleaseSource::parse(&self.source) == ReleaseSource::Bundled
    }
}

const JOURNAL: &str = "plugins.json";

impl Journal {
    /// Opens the folder, and creates it if it is missing. If the folder cannot be written to, logs a warning and
    /// returns `None`; then a restart forgets all deployments.
    ///
    /// # Errors
    /// If another process uses the folder.
    pub fn open(folder: &Path) -> Result<Option<Self>, String> {
        match lock(folder) {
            Ok(lock) => Ok(Some(Self { folder: folder.to_owned(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Err(format!(
                "the data folder {} is in use by another process; set `data_dir` to a different folder",
                folder.display()
            )),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(
                    "cannot use the data folder {}, so a restart forgets deployments: {error}",
                    folder.display()
                );
                Ok(None)
            }
        }
    }

    /// Reads the state; it is empty at the first start.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid journal.
    pub fn read(&self) -> Result<JournalState, String> {
        let path = self.folder.join(JOURNAL);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                format!("{} is not a valid journal: {error}; remove it to start from the plugin folder", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(JournalState::default()),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    /// Replaces the state, and removes the components that it no longer names.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub fn write(&self, state: &JournalState) -> io::Result<()> {
        write_durably(&self.folder.join(JOURNAL), &serde_json::to_vec_pretty(state).expect("strings and numbers"))?;
        let plugins = state.plugins.values();
        let entries = plugins.flat_map(|plugin| plugin.serving.iter().chain(&plugin.candidate).chain(&plugin.previous));
        let named: BTreeSet<_> = entries.map(|entry| format!("{}.wasm", entry.digest)).collect();
        for file in fs::read_dir(self.folder.join("components"))? {
            let file = file?;
            if !named.contains(&*file.file_name().to_string_lossy()) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    /// Stores a copy of a component on disk, and returns the artifact that reads it from there. The next
    /// [`Journal::write`] removes the copy if the state does not name it.
    ///
    /// # Errors
    /// If the component cannot be read or written.
    pub fn keep(&self, artifact: Artifact) -> io::Result<Artifact> {
        let path = self.component(&artifact.identity.digest);
        if !path.is_file() {
            let bytes = artifact.bytes().map_err(io::Error::other)?;
            write_durably(&path, &bytes)?;
        }
        Ok(artifact.stored_at(&path))
    }

    /// Reads the release of a record.
    ///
    /// # Errors
    /// If the component cannot be read or was changed, or the manifest is invalid.
    pub fn release(&self, name: &str, entry: &VersionRecord) -> Result<Release, String> {
        let path = self.component(&entry.digest);
        let bytes = fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let artifact = Artifact::new(name, Some(&entry.version), bytes.into());
        if *artifact.identity.digest != entry.digest {
            return Err(format!("{} was changed: it has a different digest", path.display()));
        }
        let manifest = match entry.manifest.as_str() {
            "" => Manifest::default(),
            text => Manifest::parse(text.to_owned(), &entry.manifest_path)?,
        };
        let source = ReleaseSource::parse(&entry.source);
        Ok(Release { artifact: artifact.stored_at(&path), manifest, source, at: entry.at })
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join("components").join(format!("{digest}.wasm"))
    }
}

fn lock(folder: &Path) -> Result<File, TryLockError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("components")).map_err(TryLockError::Error)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"));
    let file = file.map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

/// Writes a file so that after a crash it is either complete or unchanged.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(path.parent().expect("a file in a folder"))?.sync_all()
}
