//! `plimsoll.toml`: what the user writes. Every table refuses unknown keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deploy::inbox;
use bytesize::ByteSize;
use serde::Deserialize;

pub use deploy::{Admin, Canary, Deploy};
pub use memory::{Memory, Record};
pub use model::{BackendName, Backends, Model, OnnxRuntime};
pub use target::Target;

mod deploy;
mod memory;
mod model;
mod numbers;
mod target;

/// The demo that is served without any configuration file.
pub const DEMO: &str = include_str!("../demo/plimsoll.toml");

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
    #[serde(default, deserialize_with = "deploy::plugins")]
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
    pub seen: Option<inbox::Stat>,
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

/// `[server]`.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port of gRPC; default the same as HTTP.
    pub grpc_listen: Option<SocketAddr>,
    /// How long requests may go on after a signal to stop.
    #[serde(with = "humantime_serde")]
    pub grace_period: Duration,
    /// Bytes of one request's body.
    pub max_body: ByteSize,
    /// Bytes of all bodies that are held at once.
    pub body_budget: ByteSize,
    /// How long a body may take to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Requests whose stages run at once; the rest queue.
    pub max_concurrency: u32,
    /// Requests that wait; more are answered `overloaded`.
    pub max_queue: u32,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc_listen: None,
            grace_period: Duration::from_secs(30),
            max_body: ByteSize::mib(32),
            body_budget: ByteSize::mib(512),
            body_timeout: Duration::from_secs(30),
            // A stage that waits for its backend holds its place, so more than there are cores.
            max_concurrency: 32,
            max_queue: 256,
        }
    }
}

/// `[plugins.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The component's file, or an `oci://` reference; default `<name>.wasm` or `<name>@<version>.wasm` in the
    /// plugin folder, then the bundled plugins.
    pub file: Option<PathBuf>,
    /// Default of the cap for stages of this plugin.
    pub max_memory: Option<ByteSize>,
    /// The time of `lifecycle.init`, which runs once at deployment; default 30 s.
    #[serde(default, with = "humantime_serde")]
    pub init_deadline: Option<Duration>,
    /// Default of the deadline for stages of this plugin.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
}

/// `[pipelines.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The name of the model that the infer stages run.
    pub model: Option<String>,
    /// Time of a whole request, its queueing included; default 30 s.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// The chip of requests that name none; needed where there are several.
    pub default_chip: Option<String>,
    /// The first stage.
    pub preprocess: Stage,
    /// One infer stage for each chip.
    pub chips: BTreeMap<String, Stage>,
    /// The last stage.
    pub postprocess: Stage,
    /// A body that every new version must answer before it serves; default a small bundled image, which it may
    /// also decline.
    pub sample: Option<PathBuf>,
    /// The share of requests that a new version gets until it has proven itself; default none.
    #[serde(default, deserialize_with = "deploy::canary")]
    pub canary: Option<Canary>,
    /// Which inputs are kept on disk; default none.
    pub record: Option<Record>,
}

/// A stage of a pipeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The plugin's name.
    pub plugin: String,
    /// Overrides the pipeline's model; infer stages only.
    pub model: Option<String>,
    /// The cap over the sum of the stage's linear memories.
    pub max_memory: Option<ByteSize>,
    /// The time of one run.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// Bytes of a reply or a context.
    pub max_output: Option<ByteSize>,
    /// `wasi:config/store` of the plugin.
    #[serde(default)]
    pub config: BTreeMap<String, toml::Value>,
    /// Files that the plugin may read: its name for them, and the path.
    #[serde(default)]
    pub assets: BTreeMap<String, PathBuf>,
}

/// A configuration that cannot be served: file, key and reason. Its exit code is 64 (`EX_USAGE` of sysexits.h).
#[derive(Debug, thiserror::Error)]
#[error("{}: {key}{reason}", file.display())]
pub struct ConfigError {
    file: PathBuf,
    key: String,
    reason: String,
}

impl ConfigError {
    /// An error at a key such as `pipelines.digits.preprocess.plugin`; an empty key means the file as a whole.
    pub fn new(file: &Path, key: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let mut key = key.into();
        if !key.is_empty() {
            key.push_str(": ");
        }
        Self { file: file.to_owned(), key, reason: reason.to_string() }
    }
}

impl Config {
    /// Reads a file, or the bundled demo where `path` is `None`.
    ///
    /// # Errors
    /// What cannot be read or parsed, with line and key.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Self::parse(DEMO, Path::new("(bundled demo)")) };
        let seen = inbox::stat(path);
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new(path, "", format!("cannot be read: {error}")))?;
        Ok(Self { seen, ..Self::parse(&text, path)? })
    }

    /// Parses the text of a file; `path` is for messages and relative paths.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError::new(path, "", error))?;
        config.path = path.to_owned();
        if config.pipelines.is_empty() {
            return Err(ConfigError::new(path, "pipelines", "there is no pipeline; declare one as `[pipelines.NAME]`"));
        }
        config.check_numbers()?;
        Ok(config)
    }

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

    /// The bytes of a file: of a bundled one where the path begins with `bundled:`.
    ///
    /// # Errors
    /// The path and why it cannot be read.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        if let Some(name) = path.to_str().and_then(|path| path.strip_prefix("bundled:")) {
            return crate::plugin::bundled::file(name)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| format!("there is no bundled file `{name}`"));
        }
        let path = self.resolve(path);
        std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }
}

/// The text by which `wasi:config/store` gives a value: arrays as their items joined by commas.
pub fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
