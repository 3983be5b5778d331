//! `plimsoll.toml`: the user's configuration. Every table rejects unknown keys.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use plimsoll_runtime::lack::Lack;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admin::Admin;
use super::auth::Auth;
use super::backends::Backends;
use super::chips::ChipSettings;
use super::deploy::Deploy;
use super::fleet::Fleet;
use super::listen::Listen;
use super::memory::Memory;
use super::model::Model;
use super::pipeline::Pipeline;
use super::plugin::{Plugin, PluginsForm, plugins};
use super::pulled_models::PulledModels;
use super::server::Server;
use super::shown::SettingsInForce;
use super::telemetry::Telemetry;
use super::texts::Scalar;
use super::tls::Tls;
use crate::base::bundled;
use crate::base::files::{self, FileStat};
use crate::base::object::{optional_table, table, tables};

/// The demo that is served without any configuration file.
pub const DEMO: &str = include_str!("../../demo/plimsoll.toml");

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses and limits of the server.
    #[serde(default, deserialize_with = "table")]
    pub server: Server,
    /// Folder of `<name>.wasm` files, relative to the file; default `plugins`.
    #[serde(default)]
    pub plugin_dir: Option<PathBuf>,
    /// Folder of the deployments that are kept across restarts, relative to the file; default `.plimsoll`.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
    /// Folder of the compiled code, relative to the file; default `cache` in the data folder.
    #[serde(default)]
    pub cache_dir: Option<PathBuf>,
    /// Settings for the deployment of plugins.
    #[serde(default, deserialize_with = "table")]
    pub deploy: Deploy,
    /// Access to the administration routes.
    #[serde(default, deserialize_with = "table")]
    pub admin: Admin,
    /// The keys of callers.
    #[serde(default, deserialize_with = "table")]
    pub auth: Auth,
    /// The certificate of the server; without it connections are not encrypted.
    #[serde(default, deserialize_with = "optional_table")]
    pub tls: Option<Tls>,
    /// The export of traces.
    #[serde(default, deserialize_with = "table")]
    pub telemetry: Telemetry,
    /// The other servers with which canaries are decided.
    #[serde(default, deserialize_with = "table")]
    pub fleet: Fleet,
    /// How the memory report distinguishes callers.
    #[serde(default, deserialize_with = "table")]
    pub memory: Memory,
    /// Plugins by name: their source and defaults. A plain list of `oci://` references is also allowed.
    #[serde(default, deserialize_with = "plugins")]
    #[schemars(with = "PluginsForm")]
    pub plugins: BTreeMap<String, Plugin>,
    /// Settings of the libraries that run models.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, Scalar>>")]
    pub backends: Backends,
    /// Devices of execution providers by name.
    #[serde(default, deserialize_with = "tables")]
    pub chips: BTreeMap<String, ChipSettings>,
    /// Models by name.
    #[serde(default, deserialize_with = "tables")]
    pub models: BTreeMap<String, Model>,
    /// Pipelines by name.
    #[serde(deserialize_with = "tables")]
    pub pipelines: BTreeMap<String, Pipeline>,
    /// The path of the file; relative paths start at its folder.
    #[serde(skip)]
    pub path: PathBuf,
    /// The metadata of the file just before it was read, so that a later change is not missed.
    #[serde(skip)]
    pub seen: Option<FileStat>,
    /// The settings that were read, with those of the environment.
    #[serde(skip)]
    pub in_force: SettingsInForce,
    /// The settings of the command line.
    #[serde(skip)]
    pub overrides: Overrides,
    /// The models of registries, after they were pulled.
    #[serde(skip)]
    pub pulled: PulledModels,
}

/// Settings of the command line. They take precedence over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The plugin folder.
    pub plugins: Option<PathBuf>,
    /// The folder of the deployments that are kept across restarts.
    pub data_dir: Option<PathBuf>,
    /// The addresses of HTTP.
    pub listen: Option<Listen>,
    /// Every stage keeps the files of its model, so that another plugin may take its place (`plimsoll leak`).
    pub keeps_model_files: bool,
}

/// Why a file that the configuration names cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The binary has no such file.
    #[error("there is no bundled file `{0}`")]
    NotBundled(String),
    /// The file is missing or cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
}

impl Clone for ReadError {
    fn clone(&self) -> Self {
        match self {
            Self::NotBundled(name) => Self::NotBundled(name.clone()),
            Self::Unreadable { path, error } => {
                // The cause must stay, because it says whether the file may be read again.
                let error = match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(error.kind(), error.to_string()),
                };
                Self::Unreadable { path: path.clone(), error }
            }
        }
    }
}

impl ReadError {
    /// Returns true if the host had no room to read the file, for example no file descriptors, or the file system did not
    /// answer in time. Then it may be read again.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreadable { error, .. }
            if Lack::of(error).is_some() || error.kind() == io::ErrorKind::TimedOut)
    }
}

impl Config {
    /// Applies the command-line settings of the configuration before, because they take precedence over the file.
    pub fn keep_overrides(&mut self, before: &Self) {
        self.apply_overrides(before.overrides.clone());
    }

    /// Applies settings of the command line. They take precedence over the file, also when it is read again.
    pub fn apply_overrides(&mut self, overrides: Overrides) {
        if let Some(folder) = &overrides.plugins {
            self.plugin_dir = Some(folder.clone());
        }
        if let Some(folder) = &overrides.data_dir {
            self.data_dir = Some(folder.clone());
        }
        if let Some(addresses) = &overrides.listen {
            self.server.listen = addresses.clone();
        }
        self.overrides = overrides;
    }

    /// Resolves a path that is relative to the file's folder.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The plugin folder.
    pub fn plugin_dir(&self) -> PathBuf {
        self.resolve(self.plugin_dir.as_deref().unwrap_or(Path::new("plugins")))
    }

    /// The folder of the deployments that are kept across restarts.
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

    /// The folder of a pipeline's captures; `None` if it keeps none.
    pub fn capture_dir(&self, pipeline: &str) -> Option<PathBuf> {
        let capture = self.pipelines.get(pipeline)?.capture.as_ref()?;
        let default = || self.data_dir().join("captures").join(pipeline);
        Some(capture.dir.as_deref().map_or_else(default, |dir| self.resolve(dir)))
    }

    /// Reads a file, or a bundled file if the path begins with `bundled:`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        if let Some(name) = path.to_str().and_then(|path| path.strip_prefix("bundled:")) {
            let bundled = bundled::file(name).map(<[u8]>::to_vec);
            return bundled.ok_or_else(|| ReadError::NotBundled(name.to_owned()));
        }
        let path = self.resolve(path);
        files::read_regular(&path, u64::MAX).map_err(|error| ReadError::Unreadable { path, error })
    }
}
