//! The options that name the configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Config, ConfigError, Listen, ListenAddress, Overrides};

/// The location of the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct ConfigSource {
    /// The configuration file; default the bundled demo.
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of plugins; overrides the file's `plugin_dir`.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The folder of the state that survives a restart; overrides the file's `data_dir`.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl ConfigSource {
    /// The configuration file and the data folder of a server that is already running.
    pub(in crate::cli) fn at(config: Option<PathBuf>, data_dir: Option<PathBuf>) -> Self {
        Self { config, plugins: None, data_dir }
    }

    /// The configuration file; `None` for the bundled demo.
    pub(in crate::cli) fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// As [`ConfigSource::load`], with the addresses of `--listen`, if there are any.
    pub(in crate::cli) fn load_with(&self, listen: Vec<ListenAddress>) -> Result<Config, ConfigError> {
        let mut config = self.load()?;
        if !listen.is_empty() {
            let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let listen = Listen(listen).resolved(absolute);
            let overrides = config.overrides.clone();
            config.apply_overrides(Overrides { listen: Some(listen), ..overrides });
        }
        Ok(config)
    }

    /// Loads the configuration and applies the overrides of the command line.
    pub(in crate::cli) fn load(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        // A path on the command line is relative to the current folder.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        config.apply_overrides(Overrides {
            plugins: self.plugins.as_ref().map(absolute),
            data_dir: self.data_dir.as_ref().map(absolute),
            listen: None,
            keeps_model_files: false,
        });
        Ok(config)
    }
}
