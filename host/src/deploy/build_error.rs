//! A pipeline that cannot be built.

use crate::config::{Config, ConfigError};

/// A pipeline that cannot be built: the key in the configuration, the reason, and the plugin if one is at fault.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct BuildError {
    /// For example `pipelines.digits.preprocess.plugin`.
    pub key: String,
    /// Why, in one sentence.
    pub reason: String,
    /// The plugin whose release was rejected.
    pub plugin: Option<String>,
}

impl BuildError {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into(), plugin: None }
    }

    pub(super) fn for_plugin(plugin: &str, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { plugin: Some(plugin.to_owned()), ..Self::new(key, reason) }
    }

    /// The same error for the whole configuration.
    pub fn in_config(self, config: &Config) -> ConfigError {
        ConfigError::new(&config.path, self.key, self.reason)
    }
}
