//! One look at the plugin folder and at the files that the configuration names.
//!
//! A file that cannot be seen does not count as removed: a folder that cannot be read, or was unmounted, says nothing
//! about its files. The look has the reason, and [`Look::is_gone`] is false for the files that were there before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf, absolute};

use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::identity::{check_plugin_name, check_version};

use super::file_fingerprint::FileFingerprint;
use super::needed::declared;
use super::version_order::VersionOrder;
use crate::base::file_access::in_haste;
use crate::base::files::{FolderId, folder_id, list_folder};
use crate::config::Config;

/// A component file of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFile {
    /// The plugin's name.
    pub name: String,
    /// The version in the file's name.
    pub version: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// Its fingerprint when the folder was scanned.
    pub fingerprint: FileFingerprint,
}

impl ComponentFile {
    /// The version in the file's name, or `unversioned` if there is none or it is not valid.
    pub fn shown_version(&self) -> &str {
        self.version.as_deref().filter(|version| check_version(version).is_ok()).unwrap_or(UNVERSIONED)
    }
}

/// The folders as they were when component files were last found in them.
pub type KnownFolders = BTreeMap<PathBuf, FolderId>;

/// The folders of earlier looks.
#[derive(Debug, Clone, Default)]
pub struct SeenFolders {
    /// Their ids; the journal keeps them.
    pub ids: KnownFolders,
    /// The component files of the last look of this process.
    pub files: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// What several looks share; `None` if each look reads everything again.
    pub reads: Option<Reads>,
}

/// What was read of folders and files.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    /// The files of folders, with the folders that they are of.
    lists: BTreeMap<PathBuf, (FolderId, Vec<PathBuf>)>,
    /// The files of plugins, by plugin and path.
    files: BTreeMap<(String, PathBuf), Option<FileFingerprint>>,
}

impl SeenFolders {
    /// The files of the folder, which is the one with this id.
    fn list(&mut self, folder: &Path, id: FolderId) -> io::Result<Vec<PathBuf>> {
        let Some(reads) = &mut self.reads else { return list_folder(folder) };
        match reads.lists.get(folder) {
            Some((known, list)) if *known == id => return Ok(list.clone()),
            // It was replaced, and so were its files.
            Some(_) => *reads = Reads::default(),
            None => {}
        }
        let list = list_folder(folder)?;
        reads.lists.insert(folder.to_owned(), (id, list.clone()));
        Ok(list)
    }

    fn fingerprint(&mut self, name: &str, path: &Path) -> io::Result<Option<FileFingerprint>> {
        let Some(reads) = &mut self.reads else { return FileFingerprint::read(name, path) };
        let key = (name.to_owned(), path.to_owned());
        if let Some(known) = reads.files.get(&key) {
            return Ok(*known);
        }
        let read = FileFingerprint::read(name, path)?;
        reads.files.insert(key, read);
        Ok(read)
    }
}

/// What one look found.
#[derive(Debug, Default)]
pub struct Look {
    /// The component files, by plugin. The files of a plugin are in the order of their versions. The paths are
    /// absolute, because the journal keeps them and the next start may use another path to the configuration.
    pub files: Vec<ComponentFile>,
    /// The folders and files that could not be looked at, with the reason.
    pub unseen: BTreeMap<PathBuf, String>,
    present: BTreeSet<PathBuf>,
}

impl Look {
    /// Looks for the component files of the folder, and for the files that the configuration names. If the
    /// configuration names the file of a plugin, the folder's files of this plugin are left out. `known` are the files
    /// of earlier looks; `folders` are their folders.
    pub fn take(config: &Config, known: &BTreeSet<PathBuf>, folders: &mut SeenFolders) -> Self {
        let mut look = Self::default();
        if let Err(error) = in_haste(|| look.fill(config, known, folders)) {
            // Relative paths cannot be resolved, because the working directory is gone.
            look.unseen = known.iter().map(|path| (path.clone(), error.to_string())).collect();
        }
        look.files.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| order(a).cmp(&order(b))));
        look
    }

    /// Returns true if a file that was there before is gone. Returns false if the file or its folder could not be
    /// looked at.
    pub fn is_gone(&self, path: &Path) -> bool {
        let is_unseen = |path: &Path| self.unseen.contains_key(path);
        !is_unseen(path) && !path.parent().is_some_and(is_unseen) && !self.present.contains(path)
    }

    /// What could not be looked at and may be a file of this plugin, with the reason.
    pub fn unseen_of(&self, config: &Config, name: &str) -> Option<(&Path, &str)> {
        let folder = absolute(config.plugin_dir()).ok();
        let of_config = declared(config, name).and_then(|file| absolute(config.resolve(file)).ok());
        let is_of_plugin = |path: &Path| match &of_config {
            Some(file) => path == file,
            None => {
                folder.as_deref() == Some(path) || (is_in(path, folder.as_deref()) && plugin_of(path) == Some(name))
            }
        };
        let mut unseen = self.unseen.iter().map(|(path, reason)| (path.as_path(), reason.as_str()));
        unseen.find(|(path, _)| is_of_plugin(path))
    }

    /// Returns true if a file of this look is in the folder.
    pub fn holds(&self, folder: &Path) -> bool {
        self.files.iter().any(|found| found.path.parent() == Some(folder))
    }

    fn fill(&mut self, config: &Config, known: &BTreeSet<PathBuf>, folders: &mut SeenFolders) -> io::Result<()> {
        let folder = absolute(config.plugin_dir())?;
        if let Err(error) = self.list_folder(config, &folder, known, folders) {
            self.unseen.insert(folder, error.to_string());
        }
        for name in config.plugins.keys() {
            let Some(file) = declared(config, name).filter(|file| !file.starts_with("oci:")) else { continue };
            let path = absolute(config.resolve(file))?;
            let Some(folder) = path.parent() else { continue };
            let id = folder_id(folder);
            self.add(name, None, &path, folders);
            if self.files.last().is_some_and(|found| found.path == path) {
                folders.ids.extend(id.ok().map(|id| (folder.to_owned(), id)));
                continue;
            }
            // A missing file counts as removed only if the folder is still the one in which the file was found, also after
            // the file was looked for.
            let reason = match folder_id(folder) {
                Ok(id) if folders.ids.get(folder) == Some(&id) => None,
                Ok(_) => Some("another folder without it is in the place of its folder (was it unmounted?)".to_owned()),
                Err(error) => Some(format!("its folder: {error}")),
            };
            if let Some(reason) = reason.filter(|_| known.contains(&path)) {
                self.unseen.entry(path).or_insert(reason);
            }
        }
        Ok(())
    }

    fn list_folder(
        &mut self,
        config: &Config,
        folder: &Path,
        known: &BTreeSet<PathBuf>,
        folders: &mut SeenFolders,
    ) -> io::Result<()> {
        let had_files = known.iter().any(|path| path.parent() == Some(folder));
        let id = match folder_id(folder) {
            // A plugin folder is not required.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !had_files => return Ok(()),
            id => id?,
        };
        let mut found = Self::default();
        for path in folders.list(folder, id)? {
            found.add_file(config, path, folders);
        }
        // It was unmounted or replaced meanwhile: files of the list that are missing by now were not removed.
        if folder_id(folder)? != id {
            return Err(io::Error::other(ANOTHER_FOLDER));
        }
        if folders.ids.get(folder) != Some(&id) {
            if had_files && found.is_empty() {
                return Err(io::Error::other(ANOTHER_FOLDER));
            }
            let before = folders.files.get(folder).into_iter().flatten();
            if before.into_iter().any(|path| !found.present.contains(path) && !found.unseen.contains_key(path)) {
                return Err(io::Error::other(ANOTHER_FOLDER));
            }
        }
        folders.files.insert(folder.to_owned(), found.present.clone());
        if !found.is_empty() {
            folders.ids.insert(folder.to_owned(), id);
        }
        self.files.append(&mut found.files);
        self.unseen.append(&mut found.unseen);
        self.present.append(&mut found.present);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unseen.is_empty()
    }

    /// Adds a file of the plugin folder, if it is a component.
    fn add_file(&mut self, config: &Config, path: PathBuf, folders: &mut SeenFolders) {
        let name = path.file_name().unwrap_or_default();
        if let Some(reason) = mistaken_encoding(name) {
            self.unseen.insert(path, reason);
            return;
        }
        let Some((name, version)) = name.to_str().and_then(split_name) else { return };
        if let Err(error) = check_plugin_name(name) {
            // Other operating systems leave hidden files next to the files that they copy.
            if !name.starts_with('.') {
                self.unseen.insert(path, error.to_string());
            }
        } else if declared(config, name).is_none() {
            self.add(name, version, &path, folders);
        }
    }

    fn add(&mut self, name: &str, version: Option<&str>, path: &Path, folders: &mut SeenFolders) {
        match folders.fingerprint(name, path) {
            Ok(Some(fingerprint)) => {
                let (name, version) = (name.to_owned(), version.map(str::to_owned));
                self.present.insert(path.to_owned());
                self.files.push(ComponentFile { name, version, path: path.to_owned(), fingerprint });
            }
            // The file was removed during the scan.
            Ok(None) => {}
            Err(error) => drop(self.unseen.insert(path.to_owned(), error.to_string())),
        }
    }
}

/// The plugin and the version in the name of a component file: `NAME.wasm` or `NAME@VERSION.wasm`.
fn split_name(file: &str) -> Option<(&str, Option<&str>)> {
    let stem = file.strip_suffix(".wasm")?;
    Some(stem.split_once('@').map_or((stem, None), |(name, version)| (name, Some(version))))
}

fn plugin_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str).and_then(split_name).map(|(name, _)| name)
}

fn is_in(path: &Path, folder: Option<&Path>) -> bool {
    folder.is_some() && path.parent() == folder
}

/// Why a component file is not a plugin, if its name is not UTF-8, as that of a file from an old archive.
fn mistaken_encoding(name: &OsStr) -> Option<String> {
    let bytes = name.as_bytes();
    // Other operating systems leave hidden files next to the files that they copy.
    let is_component = bytes.ends_with(b".wasm") && !bytes.starts_with(b".");
    (is_component && name.to_str().is_none()).then(|| {
        let escaped = bytes.escape_ascii();
        format!("its name is not UTF-8: `{escaped}`; rename it to `NAME.wasm` or `NAME@VERSION.wasm`")
    })
}

/// The reason for a folder that is not the one in which the files were, and has none or not all of them. Its versions may be
/// others, so they do not take the place of those that serve.
const ANOTHER_FOLDER: &str = "another folder without these files is in its place (was a file system mounted or unmounted?); \
                              if it is the right one, and not empty, send SIGHUP to the server or restart it";

/// The sort key of a file: a file without a version comes first, then those whose versions have no order.
fn order(found: &ComponentFile) -> (bool, Option<VersionOrder>, Option<&str>) {
    let version = found.version.as_deref();
    (version.is_some(), version.and_then(VersionOrder::parse), version)
}
