//! The options that name the configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError};

/// The location of the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct ConfigSource {
    /// The configuration file; default the bundled demo.
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of plugins; overrides the file's `plugin_dir`.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl ConfigSource {
    /// Loads the configuration and applies the overrides of the command line.
    pub(in crate::cli) fn load(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(folder) = &self.plugins {
            // A path on the command line is relative to the current folder.
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            config.overrides.plugins = Some(folder.clone());
            config.plugin_dir = Some(folder);
        }
        Ok(config)
    }
}
