//! A release whose component came over HTTP. Its manifest is the one in the plugin folder, as for a file of the same name,
//! so a deployment over HTTP does not drop the limits and settings that the plugin has there.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use plimsoll_runtime::identity::{InvalidVersion, check_version};

use super::manifest::ManifestError;
use super::needed::declared;
use super::release::{FileError, Release, ReleaseSource, read_manifest};
use crate::base::files::list_folder;
use crate::config::Config;

/// Why an uploaded component does not become a release.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The version of the request, or of the component, is not valid.
    #[error("the version {0}")]
    Version(#[from] InvalidVersion),
    /// The component does not have the digest that the request names.
    #[error(
        "digest mismatch: the request pins sha256 {pinned}, but the file has {found}; send the file that was built, or its digest"
    )]
    Digest {
        /// The digest in the request.
        pinned: String,
        /// The digest of the component.
        found: String,
    },
    /// The manifest in the plugin folder cannot be read.
    #[error("its manifest cannot be used: {0}")]
    Manifest(#[from] FileError),
    /// The serving version has a manifest, and its whole folder is missing or empty.
    #[error(
        "the manifest {}, with the limits of the serving version, is gone with everything else in its folder (was it \
         unmounted?): restore the folder; or, to deploy without a manifest, put any file there",
        .0.display()
    )]
    NoFolder(PathBuf),
    /// The manifest in the plugin folder pins another digest.
    #[error("{0}; change `sha256` there, or remove it")]
    Pinned(ManifestError),
}

/// An uploaded component, and the parameters of its request.
#[derive(Debug)]
pub struct Upload {
    /// The plugin.
    pub name: String,
    /// The version; `None` for the one in the component's metadata.
    pub version: Option<String>,
    /// The digest that the component must have.
    pub sha256: Option<String>,
    /// The component.
    pub bytes: Bytes,
}

impl Upload {
    /// Reads the manifest, and creates the release. `manifest_before` is the manifest of the plugin's serving version.
    ///
    /// # Errors
    /// If the version is not valid, the manifest cannot be used or its whole folder is gone, or the digest differs from
    /// the one that the request or the manifest pins.
    pub fn into_release(self, config: &Config, manifest_before: Option<&Path>) -> Result<Release, UploadError> {
        let Self { name, version, sha256, bytes } = self;
        // Before it becomes a part of a path.
        version.as_deref().map_or(Ok(()), check_version)?;
        let manifest = read_manifest(&name, &component_file(config, &name, version.as_deref()))?;
        if let Some(before) = manifest_before.filter(|_| manifest.file().is_none())
            && is_folder_gone(before).map_err(|error| FileError::unreadable(before, &error))?
        {
            return Err(UploadError::NoFolder(before.to_owned()));
        }
        let release = Release::new(&name, version.as_deref(), bytes, manifest, ReleaseSource::Http)?;
        let found = &*release.artifact.identity.digest;
        match sha256 {
            Some(pinned) if !pinned.eq_ignore_ascii_case(found) => {
                return Err(UploadError::Digest { pinned, found: found.to_owned() });
            }
            _ => {}
        }
        release.manifest.check_digest(found).map_err(UploadError::Pinned)?;
        Ok(release)
    }
}

/// Returns true if the folder of a file is missing or empty, as the folder under an unmounted file system is. Then a
/// file that is missing there does not count as removed.
fn is_folder_gone(file: &Path) -> io::Result<bool> {
    let folder = file.parent().unwrap_or(Path::new("."));
    match list_folder(folder) {
        Ok(files) => Ok(files.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The file that the component would have on this machine. It need not exist.
fn component_file(config: &Config, name: &str, version: Option<&str>) -> PathBuf {
    let is_file = |file: &&Path| !file.to_str().is_some_and(|file| file.starts_with("oci://"));
    match (declared(config, name).filter(is_file), version) {
        (Some(file), _) => config.resolve(file),
        (None, Some(version)) => config.plugin_dir().join(format!("{name}@{version}.wasm")),
        (None, None) => config.plugin_dir().join(format!("{name}.wasm")),
    }
}
