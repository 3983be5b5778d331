//! The plugin folder: finds component files that are new or changed, and completely written.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_runtime::component::artifact::is_truncated;
use plimsoll_runtime::identity::check_plugin_name;

use super::file_fingerprint::FileFingerprint;
use super::needed::declared;
use crate::config::Config;

/// A file that has not changed for this time is assumed to be completely written. If a writer pauses longer,
/// [`is_truncated`] or the next scan detects it.
const AT_REST: Duration = Duration::from_millis(25);
/// How long to wait for the rest of a file that ends inside a section.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// The result of one folder scan.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that are new or changed, and at rest.
    pub ready: Vec<ComponentFile>,
    /// All component files that exist.
    pub present: Vec<PathBuf>,
    /// True if a file is still being written, so that the folder must be scanned again soon.
    pub pending: bool,
}

/// Remembers which files were handled and which are still changing.
#[derive(Debug, Clone, Default)]
pub struct PluginFolder {
    handled: HashMap<PathBuf, FileFingerprint>,
    moving: HashMap<PathBuf, (FileFingerprint, Instant)>,
}

impl PluginFolder {
    /// Marks a file as handled in the state in which it was found.
    pub fn mark_handled(&mut self, found: &ComponentFile) {
        self.moving.remove(&found.path);
        self.handled.insert(found.path.clone(), found.fingerprint);
    }

    /// Makes the next scan find a file again.
    pub fn mark_unhandled(&mut self, found: &ComponentFile) {
        self.handled.remove(&found.path);
    }

    /// Scans the folder and the files that the configuration names.
    pub fn scan(&mut self, config: &Config) -> Scan {
        let mut scan = Scan::default();
        for found in list(config) {
            scan.present.push(found.path.clone());
            if self.handled.get(&found.path) == Some(&found.fingerprint) {
                continue;
            }
            let now = Instant::now();
            let (seen, since) = *self.moving.entry(found.path.clone()).or_insert((found.fingerprint, now));
            if seen != found.fingerprint {
                self.moving.insert(found.path, (found.fingerprint, now));
                scan.pending = true;
            } else if !is_at_rest(since) || (since.elapsed() < PATIENCE && is_file_truncated(&found.path)) {
                scan.pending = true;
            } else {
                scan.ready.push(found);
            }
        }
        self.handled.retain(|path, _| scan.present.contains(path));
        self.moving.retain(|path, _| scan.present.contains(path));
        scan
    }
}

/// Returns true if a file that has not changed since then is assumed to be completely written.
pub(super) fn is_at_rest(since: Instant) -> bool {
    since.elapsed() >= AT_REST
}

fn is_file_truncated(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| is_truncated(&bytes))
}

/// Lists the component files of the folder, and the files that the configuration names. If the configuration names the
/// file of a plugin, the folder's files of this plugin are left out. The files of a plugin are in the order of their
/// versions. The paths are absolute, because the journal keeps them and the next start may use another path to the
/// configuration.
pub fn list(config: &Config) -> Vec<ComponentFile> {
    let mut all = Vec::new();
    for entry in fs::read_dir(config.plugin_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".wasm")) else { continue };
        let (name, version) = match stem.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (stem, None),
        };
        if check_plugin_name(name).is_ok() && declared(config, name).is_none() {
            all.push((name.to_owned(), version, path));
        }
    }
    for name in config.plugins.keys() {
        if let Some(file) = declared(config, name).filter(|file| !file.starts_with("oci:")) {
            all.push((name.clone(), None, config.resolve(file)));
        }
    }
    let mut found: Vec<_> = all
        .into_iter()
        .filter_map(|(name, version, path)| {
            let path = std::path::absolute(path).ok()?;
            let fingerprint = FileFingerprint::read(&name, &path)?;
            Some(ComponentFile { name, version, path, fingerprint })
        })
        .collect();
    found.sort_by(|a, b| (&a.name, order(a)).cmp(&(&b.name, order(b))));
    found
}

/// The sort key of a file: a file without a version comes first, and 1.10 comes after 1.9.
fn order(found: &ComponentFile) -> (Option<semver::Version>, Option<&str>) {
    let version = found.version.as_deref();
    (version.and_then(|version| semver::Version::parse(version).ok()), version)
}
