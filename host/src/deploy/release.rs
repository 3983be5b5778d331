//! A release: one version of a plugin as it was submitted, from any source.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::InvalidVersion;
use plimsoll_runtime::lack::Lack;

use super::manifest::Manifest;
use crate::base::bundled;
use crate::base::file_access::within_time;
use crate::base::files::{look_at_regular_file, open_regular, read_open, read_settings};

/// One version of a plugin, with its author's manifest.
#[derive(Debug, Clone)]
pub struct Release {
    /// The component.
    pub artifact: Artifact,
    /// The author's limits, configuration and files.
    pub manifest: Manifest,
    /// Where it came from.
    pub source: ReleaseSource,
    /// When it was submitted.
    pub at: SystemTime,
}

/// Where a release came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseSource {
    /// It is bundled in the binary.
    Bundled,
    /// A file, in the plugin folder or named in the configuration.
    File(PathBuf),
    /// `PUT /v1/plugins/{name}`.
    Http,
    /// A registry, by its `oci://` reference.
    Oci(String),
}

impl fmt::Display for ReleaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str("bundled"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Http => f.write_str("http"),
            Self::Oci(reference) => f.write_str(reference),
        }
    }
}

impl ReleaseSource {
    /// The inverse of `Display`, for the journal.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "bundled" => Self::Bundled,
            "http" => Self::Http,
            _ if text.starts_with("oci://") => Self::Oci(text.to_owned()),
            _ => Self::File(PathBuf::from(text)),
        }
    }
}

impl Release {
    /// The bundled plugin of this name.
    pub fn bundled(name: &str) -> Option<Self> {
        let bytes = bundled::plugin(name)?;
        Self::new(name, None, Bytes::from_static(bytes), Manifest::default(), ReleaseSource::Bundled).ok()
    }

    /// Creates a release from the bytes of a component and its manifest.
    ///
    /// # Errors
    /// If the version, or the one in the component's metadata, is not valid.
    pub fn new(
        name: &str,
        version: Option<&str>,
        bytes: Bytes,
        manifest: Manifest,
        source: ReleaseSource,
    ) -> Result<Self, InvalidVersion> {
        let is_shipped = bundled::plugin(name).is_some_and(|bundled| bundled == bytes);
        let mut artifact = Artifact::new(name, version, bytes)?;
        // A bundled plugin has the version of this program, also if it is deployed from a file.
        if is_shipped && *artifact.identity.version == *UNVERSIONED {
            artifact.identity.version = bundled::VERSION.into();
        }
        Ok(Self { artifact, manifest, source, at: SystemTime::now() })
    }

    /// Reads a component and the manifest that belongs to it.
    ///
    /// # Errors
    /// If a file cannot be read, the component is larger than `max_bytes`, or its digest is not the one in the
    /// manifest.
    pub fn from_file(name: &str, version: Option<&str>, path: &Path, max_bytes: u64) -> Result<Self, FileError> {
        let bytes = read_bounded(path, max_bytes)?;
        let manifest = read_manifest(name, path)?;
        let release = Self::new(name, version, bytes, manifest, ReleaseSource::File(path.to_owned()))
            .map_err(|error| FileError::Rejected(format!("{}: its version {error}", path.display())))?;
        release.manifest.check_digest(&release.artifact.identity.digest).map_err(FileError::rejected)?;
        Ok(release)
    }

    /// Returns true if a restart finds the component again: it is bundled, or there is a copy on disk.
    pub fn is_kept(&self) -> bool {
        self.source == ReleaseSource::Bundled || self.artifact.is_stored()
    }
}

/// Why a file does not become a release, in one sentence.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read now. This says nothing about its content, so it is tried again.
    #[error("{reason}")]
    Unreadable {
        /// The file, and the error of the file system.
        reason: String,
        /// The resource that the host lacked to read it, if that is the cause.
        lack: Option<Lack>,
    },
    /// The content is rejected.
    #[error("{0}")]
    Rejected(String),
}

impl FileError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::Unreadable { reason: format!("{} cannot be read: {error}", path.display()), lack: Lack::of(error) }
    }

    /// Returns true if the host had no room to read the file, for example no file descriptors.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreadable { lack: Some(_), .. })
    }

    fn rejected(error: impl fmt::Display) -> Self {
        Self::Rejected(error.to_string())
    }
}

/// The manifest next to a component: `<file's stem>.toml` if it exists, otherwise `<name>.toml`.
///
/// # Errors
/// If a file cannot be looked at, or is not a regular file. Then it is unknown whether the component has a manifest with limits.
pub(super) fn manifest_beside(name: &str, component: &Path) -> io::Result<Option<PathBuf>> {
    let own = component.with_extension("toml");
    // `with_extension` replaces only `wasm`: `blur@1.2.wasm` becomes `blur@1.2.toml`.
    for path in [own, component.with_file_name(format!("{name}.toml"))] {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if look_at_regular_file(&path).map_err(named)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Reads the manifest next to a component; an empty one if there is none.
///
/// # Errors
/// If it cannot be read, or is not valid.
pub(super) fn read_manifest(name: &str, component: &Path) -> Result<Manifest, FileError> {
    let found = manifest_beside(name, component).map_err(|error| FileError::unreadable(component, &error))?;
    let Some(path) = found else { return Ok(Manifest::default()) };
    let text = read_settings(&path).map_err(|error| match error.kind() {
        // The file is not text of the allowed size, so reading it again would not help.
        io::ErrorKind::Other => FileError::Rejected(format!("{}: {error}", path.display())),
        _ => FileError::unreadable(&path, &error),
    })?;
    Manifest::parse(text, &path).map_err(FileError::rejected)
}

fn read_bounded(path: &Path, max_bytes: u64) -> Result<Bytes, FileError> {
    let of = path.to_owned();
    let read = within_time(path, move || {
        let file = open_regular(&of)?;
        let size = file.metadata()?.len();
        if let Err(error) = check_size(size, max_bytes) {
            return Ok(Err(error));
        }
        // The limit holds also if the file grows while it is read.
        let bytes = read_open(file, size, max_bytes)?;
        Ok(check_size(bytes.len() as u64, max_bytes).map(|()| bytes.into()))
    });
    read.map_err(|error| FileError::unreadable(path, &error))?.map_err(FileError::rejected)
}

/// A component that is larger than `deploy.max_plugin`.
#[derive(Debug, thiserror::Error)]
#[error("it has {size} bytes, but at most {max_bytes} are allowed (`deploy.max_plugin`)")]
struct TooLarge {
    size: u64,
    max_bytes: u64,
}

fn check_size(size: u64, max_bytes: u64) -> Result<(), TooLarge> {
    if size > max_bytes { Err(TooLarge { size, max_bytes }) } else { Ok(()) }
}
