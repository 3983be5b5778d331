//! A release: one version of a plugin as it was handed in, from any source.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use plimsoll_runtime::component::Artifact;
use plimsoll_runtime::component::artifact::UNVERSIONED;

use super::manifest::Manifest;
use crate::base::bundled;

/// One version of a plugin, with its author's manifest.
#[derive(Debug, Clone)]
pub struct Release {
    /// The component.
    pub artifact: Artifact,
    /// The author's limits, configuration and files.
    pub manifest: Manifest,
    /// Where it came from.
    pub source: ReleaseSource,
    /// When it was handed in.
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
        Some(Self::new(name, None, Bytes::from_static(bytes), Manifest::default(), ReleaseSource::Bundled))
    }

    /// Creates a release from the bytes of a component and its manifest.
    pub fn new(name: &str, version: Option<&str>, bytes: Bytes, manifest: Manifest, source: ReleaseSource) -> Self {
        let is_shipped = bundled::plugin(name).is_some_and(|bundled| bundled == bytes);
        let mut artifact = Artifact::new(name, version, bytes);
        // A bundled plugin has the version of this program, also if it is deployed from a file.
        if is_shipped && *artifact.identity.version == *UNVERSIONED {
            artifact.identity.version = bundled::VERSION.into();
        }
        Self { artifact, manifest, source, at: SystemTime::now() }
    }

    /// Reads a component and the manifest that belongs to it.
    ///
    /// # Errors
    /// If a file cannot be read, the component is larger than `max_bytes`, or its digest is not the one in the
    /// manifest.
    pub fn from_file(name: &str, version: Option<&str>, path: &Path, max_bytes: u64) -> Result<Self, RejectReason> {
        let bytes = read_bounded(path, max_bytes)?;
        let manifest = manifest_beside(name, path).map_or(Ok(Manifest::default()), |path| Manifest::read(&path))?;
        let release = Self::new(name, version, bytes, manifest, ReleaseSource::File(path.to_owned()));
        release.manifest.check_digest(&release.artifact.identity.digest)?;
        Ok(release)
    }
}

/// Why a file was rejected, in one sentence.
type RejectReason = String;

/// The manifest next to a component: `<file's stem>.toml` if it exists, otherwise `<name>.toml`.
pub(super) fn manifest_beside(name: &str, component: &Path) -> Option<PathBuf> {
    let own = component.with_extension("toml");
    // `with_extension` replaces only `wasm`: `blur@1.2.wasm` becomes `blur@1.2.toml`.
    [own, component.with_file_name(format!("{name}.toml"))].into_iter().find(|path| path.is_file())
}

fn read_bounded(path: &Path, max_bytes: u64) -> Result<Bytes, RejectReason> {
    let told = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let size = std::fs::metadata(path).map_err(told)?.len();
    check_size(size, max_bytes)?;
    Ok(std::fs::read(path).map_err(told)?.into())
}

/// Checks a component's size against `deploy.max_plugin`.
///
/// # Errors
/// If the component is larger. The message has the size and the limit.
pub fn check_size(size: u64, max_bytes: u64) -> Result<(), RejectReason> {
    if size > max_bytes {
        return Err(format!("it has {size} bytes, but at most {max_bytes} are allowed (`deploy.max_plugin`)"));
    }
    Ok(())
}
