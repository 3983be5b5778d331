//! The plugin folder as an inbox: which files are new, whole and at rest.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::release::manifest_beside;
use super::workshop::declared;
use crate::config::Config;
use crate::plugin::artifact::is_torn;
use crate::plugin::check_name;

/// A file that has not changed for so long is taken to be written. Writers that pause longer are caught by
/// [`is_torn`], and by the next look.
const AT_REST: Duration = Duration::from_millis(25);
/// How long the rest of a file that ends inside a section is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a file and its manifest look like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    component: (u64, i64, i64, u64),
    manifest: (u64, i64, i64, u64),
}

/// A component file for a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The plugin's name.
    pub name: String,
    /// The version in the file's name.
    pub version: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// What it looks like now.
    pub fingerprint: Fingerprint,
}

/// What a look gave.
#[derive(Debug, Default)]
pub struct Look {
    /// Files that are new or changed, and at rest.
    pub ready: Vec<Found>,
    /// All files that are there.
    pub present: Vec<PathBuf>,
    /// Whether some file is still being written: look again soon.
    pub pending: bool,
}

/// Remembers which files were handled and which are still changing.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    handled: HashMap<PathBuf, Fingerprint>,
    moving: HashMap<PathBuf, (Fingerprint, Instant)>,
}

impl Inbox {
    /// Marks a file as handled in the state in which it was found.
    pub fn handled(&mut self, found: &Found) {
        self.moving.remove(&found.path);
        self.handled.insert(found.path.clone(), found.fingerprint);
    }

    /// Makes the next look find a file again.
    pub fn again(&mut self, found: &Found) {
        self.handled.remove(&found.path);
    }

    /// Looks at the folder and at the files that the configuration names.
    pub fn look(&mut self, config: &Config) -> Look {
        let mut look = Look::default();
        for found in scan(config) {
            look.present.push(found.path.clone());
            if self.handled.get(&found.path) == Some(&found.fingerprint) {
                continue;
            }
            let now = Instant::now();
            let (seen, since) = *self.moving.entry(found.path.clone()).or_insert((found.fingerprint, now));
            if seen != found.fingerprint {
                self.moving.insert(found.path, (found.fingerprint, now));
                look.pending = true;
            } else if !is_at_rest(since) || (since.elapsed() < PATIENCE && file_is_torn(&found.path)) {
                look.pending = true;
            } else {
                look.ready.push(found);
            }
        }
        self.handled.retain(|path, _| look.present.contains(path));
        self.moving.retain(|path, _| look.present.contains(path));
        look
    }
}

/// Whether what has not changed since then is taken to be written.
pub(super) fn is_at_rest(since: Instant) -> bool {
    since.elapsed() >= AT_REST
}

fn file_is_torn(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| is_torn(&bytes))
}

/// Every component file of the folder (but for plugins whose file the configuration names), and the named files; for
/// each plugin in the order of their versions. Their paths are absolute: they are remembered over a restart, which may
/// name the configuration in another way.
pub fn scan(config: &Config) -> Vec<Found> {
    let mut all = Vec::new();
    for entry in fs::read_dir(config.plugin_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".wasm")) else { continue };
        let (name, version) = match stem.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (stem, None),
        };
        if check_name(name).is_ok() && declared(config, name).is_none() {
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
            let component = stat(&path)?;
            let manifest = manifest_beside(&name, &path).and_then(|path| stat(&path)).unwrap_or_default();
            Some(Found { name, version, path, fingerprint: Fingerprint { component, manifest } })
        })
        .collect();
    found.sort_by(|a, b| (&a.name, order(a)).cmp(&(&b.name, order(b))));
    found
}

/// A file without a version goes before those with one, and 1.10 after 1.9.
fn order(found: &Found) -> (Option<semver::Version>, Option<&str>) {
    let version = found.version.as_deref();
    (version.and_then(|version| semver::Version::parse(version).ok()), version)
}

/// Size, time of change and number of a file.
pub type Stat = (u64, i64, i64, u64);

/// What the file looks like; `None` where there is none.
pub(crate) fn stat(path: &Path) -> Option<Stat> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
}
