//! The manifest of a plugin: `<name>.toml` next to `<name>.wasm`, with the author's limits, configuration and files.
//! The tables of the pipelines and `[plugins.NAME]` take precedence over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::base::files;

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

/// The longest time that can be configured, as in `plimsoll.toml`.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Manifest {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file cannot be read or parsed.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = files::read_settings(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Self::parse(text, path)
    }

    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    /// If the text is not a valid manifest.
    pub fn parse(text: String, path: &Path) -> Result<Self, String> {
        let mut this: Self = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if [this.deadline, this.init_deadline].iter().flatten().any(|time| *time > LONGEST) {
            return Err(format!("{}: no time may be longer than a day", path.display()));
        }
        this.text = text;
        this.path = path.to_owned();
        Ok(this)
    }

    /// Compares the component's digest with the pinned one.
    ///
    /// # Errors
    /// If they differ.
    pub fn check_digest(&self, digest: &str) -> Result<(), String> {
        match &self.sha256 {
            Some(pinned) if !pinned.eq_ignore_ascii_case(digest) => {
                Err(format!("digest mismatch: {} pins sha256 {pinned}, but the file has {digest}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Reads the files of the assets folder, by name.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn read_assets(&self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let Some(folder) = &self.assets else { return Ok(BTreeMap::new()) };
        let folder = self.path.parent().unwrap_or(Path::new("")).join(folder);
        let told = |error: std::io::Error| format!("assets folder {}: {error}", folder.display());
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(told)? {
            let entry = entry.map_err(told)?;
            if entry.path().is_file() {
                let bytes = std::fs::read(entry.path()).map_err(told)?;
                files.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
            }
        }
        Ok(files)
    }
}
