//! Models of registries in a local folder: for each manifest a folder, which is named by its digest. A folder is complete,
//! because it gets its name when everything is in it. What is read is compared with the digests again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_runtime::identity::digest;

use super::model_layout::ModelLayout;
use super::reference::OciReference;
use crate::base::files::{read_regular, stat};

/// The file with the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// The folder with the files.
pub(super) const FILES: &str = "files";
/// Beginning of the name of a folder that is not complete.
pub(super) const PARTIAL: &str = ".partial-";
/// After this time nothing is pulled into such a folder any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes of a manifest.
const MAX_MANIFEST: u64 = 4 << 20;

/// A model of a registry that was stored.
#[derive(Debug)]
pub struct StoredModel {
    folder: PathBuf,
    layout: ModelLayout,
}

/// Why a stored model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredModelError {
    /// It is not there.
    #[error("it was not pulled: {} does not exist; a start, a reload and `plimsoll check` pull it", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It was changed after it was stored.
    #[error("{} is not what the registry sent; remove the folder {}, so that it is pulled again", path.display(), folder.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The folder of the model.
        folder: PathBuf,
    },
}

/// The folder of a model in `models`; `None` if the reference has no digest.
pub(super) fn folder(models: &Path, reference: &OciReference) -> Option<PathBuf> {
    Some(models.join(reference.digest()?.strip_prefix("sha256:")?))
}

impl StoredModel {
    /// Finds the model of a reference with a digest.
    ///
    /// # Errors
    /// If it is not there, or was changed.
    pub fn find(models: &Path, reference: &OciReference) -> Result<Self, StoredModelError> {
        let folder = folder(models, reference).ok_or_else(|| StoredModelError::Missing(models.to_owned()))?;
        let path = folder.join(MANIFEST);
        if matches!(fs::symlink_metadata(&folder), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return Err(StoredModelError::Missing(folder));
        }
        let manifest = read_regular(&path, MAX_MANIFEST);
        let manifest = manifest.map_err(|error| StoredModelError::Unreadable { path: path.clone(), error })?;
        let altered = |path: PathBuf| StoredModelError::Altered { path, folder: folder.clone() };
        if reference.digest() != Some(format!("sha256:{}", digest(&manifest)).as_str()) {
            return Err(altered(path));
        }
        let layout = ModelLayout::read(&manifest).map_err(|_| altered(path))?;
        let this = Self { layout, folder };
        for (name, layer) in &this.layout.files {
            let path = this.folder.join(FILES).join(name);
            if stat(&path).is_none_or(|(size, ..)| size != layer.size) {
                return Err(StoredModelError::Altered { path, folder: this.folder });
            }
        }
        Ok(this)
    }

    /// The path of the model itself; its weights are next to it.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILES).join(&self.layout.main)
    }

    /// Checks the bytes of a file of the model.
    ///
    /// # Errors
    /// If they are not those that the manifest declares, or the manifest has no such file.
    pub fn check(&self, path: &Path, bytes: &[u8]) -> Result<(), StoredModelError> {
        let altered = || StoredModelError::Altered { path: path.to_owned(), folder: self.folder.clone() };
        let name = path.strip_prefix(self.folder.join(FILES)).ok().and_then(Path::to_str).ok_or_else(altered)?;
        let layer = self.layout.files.get(name).ok_or_else(altered)?;
        if layer.digest == format!("sha256:{}", digest(bytes)) { Ok(()) } else { Err(altered()) }
    }
}

/// Removes the models that none of these references names, and what an interrupted pull left.
pub fn remove_others(models: &Path, references: &[OciReference]) {
    let Ok(entries) = fs::read_dir(models) else { return };
    let kept: Vec<_> = references.iter().filter_map(|reference| folder(models, reference)).collect();
    let may_go = |path: &PathBuf| is_ours(path) && !kept.contains(path) && !is_in_work(path);
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(may_go) {
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!("removed {}: no model of the configuration needs it", path.display()),
            Err(error) => tracing::warn!("{} cannot be removed: {error}", path.display()),
        }
    }
}

/// Returns true for the name of a folder that a pull makes. The user may keep other folders beside them.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(PARTIAL) || (name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns true for what another process may be pulling now.
fn is_in_work(path: &Path) -> bool {
    let is_partial = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PARTIAL));
    let age = fs::metadata(path).and_then(|it| it.modified()).map(|time| time.elapsed().unwrap_or_default());
    is_partial && age.is_ok_and(|age| age < ABANDONED)
}
