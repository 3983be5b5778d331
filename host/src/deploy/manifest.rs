//! The manifest of a plugin: `<name>.toml` next to `<name>.wasm`, with the author's limits, configuration and files.
//! The tables of the pipelines and `[plugins.NAME]` take precedence over it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::lack::Lack;
use serde::Deserialize;

use crate::base::files::{folder_id, list_folder, look_at_regular_file, read_regular};

/// The most bytes of an asset: as many as a plugin can address.
const MAX_ASSET: u64 = 4 << 30;

/// The content of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The digest that the component must have, hexadecimal.
    pub sha256: Option<String>,
    /// The cap for the sum of a stage's linear memories.
    pub max_memory: Option<ByteSize>,
    /// The maximum time of one run.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// The maximum time of `lifecycle.init`.
    #[serde(default, with = "humantime_serde")]
    pub init_deadline: Option<Duration>,
    /// The values of `wasi:config/store`.
    #[serde(default)]
    pub config: BTreeMap<String, toml::Value>,
    /// A folder whose files the plugin may read by their names; relative to the manifest.
    pub assets: Option<PathBuf>,
    /// The text of the file, for the journal.
    #[serde(skip)]
    pub text: String,
    /// The path of the file, for messages and relative paths.
    #[serde(skip)]
    pub path: PathBuf,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not a manifest.
    #[error("{}: {error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        error: Box<toml::de::Error>,
    },
    /// A time is longer than a day.
    #[error("{}: no time may be longer than a day", .0.display())]
    TooLong(PathBuf),
    /// The component has another digest than the pinned one.
    #[error("digest mismatch: {} pins sha256 {pinned}, but the component has {found}; correct `sha256`, or replace the component", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// The pinned digest.
        pinned: String,
        /// The digest of the component.
        found: String,
    },
    /// The folder of assets, or a file in it, cannot be read.
    #[error("assets folder {}: {error}", folder.display())]
    Assets {
        /// The folder.
        folder: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
}

impl ManifestError {
    /// Returns true if the host had no room to read the assets, or their file system did not answer in time. Then they
    /// may be read again.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Assets { error, .. }
            if Lack::of(error).is_some() || error.kind() == io::ErrorKind::TimedOut)
    }
}

/// The longest time that can be configured, as in `plimsoll.toml`.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Manifest {
    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    /// If the text is not a valid manifest.
    pub fn parse(text: String, path: &Path) -> Result<Self, ManifestError> {
        let invalid = |error| ManifestError::Invalid { path: path.to_owned(), error: Box::new(error) };
        let mut this: Self = toml::from_str(&text).map_err(invalid)?;
        if [this.deadline, this.init_deadline].iter().flatten().any(|time| *time > MAX_TIME) {
            return Err(ManifestError::TooLong(path.to_owned()));
        }
        this.text = text;
        this.path = path.to_owned();
        Ok(this)
    }

    /// The file; `None` if the plugin has no manifest.
    pub fn file(&self) -> Option<&Path> {
        Some(&*self.path).filter(|path| !path.as_os_str().is_empty())
    }

    /// Compares the component's digest with the pinned one.
    ///
    /// # Errors
    /// If they differ.
    pub fn check_digest(&self, digest: &str) -> Result<(), ManifestError> {
        match &self.sha256 {
            Some(pinned) if !pinned.eq_ignore_ascii_case(digest) => {
                Err(ManifestError::Digest { path: self.path.clone(), pinned: pinned.clone(), found: digest.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Reads the files of the assets folder, by name.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn read_assets(&self) -> Result<BTreeMap<String, Vec<u8>>, ManifestError> {
        let Some(folder) = &self.assets else { return Ok(BTreeMap::new()) };
        let folder = self.path.parent().unwrap_or(Path::new("")).join(folder);
        let failed = |error| ManifestError::Assets { folder: folder.clone(), error };
        let mut files = BTreeMap::new();
        for path in list_folder(&folder).map_err(failed)? {
            let file = path.file_name().unwrap_or_default();
            let named = |error: io::Error| {
                // The cause must stay, because it says whether the file may be read again.
                let reason = format!("{}: {error}", file.as_encoded_bytes().escape_ascii());
                failed(if Lack::of(&error).is_some() { error } else { io::Error::new(error.kind(), reason) })
            };
            match look_at_regular_file(&path) {
                Ok(Some(_)) => {}
                // Folders in it, and links to nothing, are not assets.
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound || folder_id(&path).is_ok() => continue,
                Err(error) => return Err(named(error)),
            }
            let Some(name) = file.to_str() else {
                return Err(named(io::Error::other("its name is not UTF-8; rename it")));
            };
            let bytes = read_regular(&path, MAX_ASSET).map_err(named)?;
            files.insert(name.to_owned(), bytes);
        }
        Ok(files)
    }
}
