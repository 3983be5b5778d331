//! `plimsoll.toml`: what the user writes. Every table refuses unknown keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::backends::Backends;
use super::deploy::{Admin, Deploy};
use super::memory::Memory;
use super::model::Model;
use super::pipeline::Pipeline;
use super::plugin::{Plugin, plugins};
use super::server::Server;
use crate::base::bundled;
use crate::base::files::FileStat;

/// The demo that is served without any configuration file.
pub const DEMO: &str = include_str!("../../demo/plimsoll.toml");

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how HTTP is served.
    #[serde(default)]
    pub server: Server,
    /// Folder of `<name>.wasm` files, relative to the file; default `plugins`.
    #[serde(default)]
    pub plugin_dir: Option<PathBuf>,
    /// Where deployments are remembered, relative to the file; default `.plimsoll`.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
    /// Where compiled code is kept, relative to the file; default `cache` in the data folder.
    #[serde(default)]
    pub cache_dir: Option<PathBuf>,
    /// How plugins are deployed.
    #[serde(default)]
    pub deploy: Deploy,
    /// Who may deploy over HTTP.
    #[serde(default)]
    pub admin: Admin,
    /// How callers are told apart in the memory report.
    #[serde(default)]
    pub memory: Memory,
    /// Plugins by name: their source and defaults. A plain list of `oci://` references will do, too.
    #[serde(default, deserialize_with = "plugins")]
    pub plugins: BTreeMap<String, Plugin>,
    /// Settings of the libraries that run models.
    #[serde(default)]
    pub backends: Backends,
    /// Models by name.
    #[serde(default)]
    pub models: BTreeMap<String, Model>,
    /// Pipelines by name.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// The file this came from; relative paths start at its folder.
    #[serde(skip)]
    pub path: PathBuf,
    /// What the file looked like just before it was read, so that a later change of it is not missed.
    #[serde(skip)]
    pub seen: Option<FileStat>,
    /// What the command line said.
    #[serde(skip)]
    pub overrides: Overrides,
}

/// Settings of the command line, which go before those of the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The plugin folder.
    pub plugins: Option<PathBuf>,
    /// Address and port.
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// Takes over what was set on the command line, which goes before the file, from the configuration before.
    pub fn keep_overrides(&mut self, before: &Self) {
        self.overrides = before.overrides.clone();
        if let Some(folder) = &self.overrides.plugins {
            self.plugin_dir = Some(folder.clone());
        }
        if let Some(address) = self.overrides.listen {
            self.server.listen = address;
        }
    }

    /// A path as the file means it.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The plugin folder.
    pub fn plugin_dir(&self) -> PathBuf {
        self.resolve(self.plugin_dir.as_deref().unwrap_or(Path::new("plugins")))
    }

    /// The folder in which deployments are remembered.
    pub fn data_dir(&self) -> PathBuf {
        self.resolve(self.data_dir.as_deref().unwrap_or(Path::new(".plimsoll")))
    }

    /// The folder of compiled code.
    pub fn cache_dir(&self) -> PathBuf {
        self.cache_dir.as_deref().map_or_else(|| self.data_dir().join("cache"), |path| self.resolve(path))
    }

    /// The folder of a pipeline's recordings; `None` if it records nothing.
    pub fn record_dir(&self, pipeline: &str) -> Option<PathBuf> {
        let record = self.pipelines.get(pipeline)?.record.as_ref()?;
        let default = || self.data_dir().join("recordings").join(pipeline);
        Some(record.dir.as_deref().map_or_else(default, |dir| self.resolve(dir)))
    }

    /// The bytes of a file: of a bundled one where the path begins with `bundled:`.
    ///
    /// # Errors
    /// The path and why it cannot be read.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        if let Some(name) = path.to_str().and_then(|path| path.strip_prefix("bundled:")) {
            return bundled::file(name).map(<[u8]>::to_vec).ok_or_else(|| format!("there is no bundled file `{name}`"));
        }
        let path = self.resolve(path);
        std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }
}
