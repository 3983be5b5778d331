//! A pipeline that cannot be built.

use crate::base::address_space;
use crate::config::{Config, ConfigError};

/// A pipeline that cannot be built: the key in the configuration, the reason, and the plugin that caused it, if any.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{key}{}{reason}", if key.is_empty() { "" } else { ": " })]
pub struct BuildError {
    /// For example `pipelines.digits.preprocess.plugin`; empty if the plugin itself is at fault.
    pub key: String,
    /// The reason, in one sentence.
    pub reason: String,
    /// The plugin whose release was rejected.
    pub plugin: Option<String>,
    /// True if the host has no room for an instance now. Then the error says nothing about the release, which may be
    /// tried again.
    pub is_temporary: bool,
}

impl BuildError {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into(), plugin: None, is_temporary: false }
    }

    pub(super) fn for_plugin(plugin: &str, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { plugin: Some(plugin.to_owned()), ..Self::new(key, reason) }
    }

    /// Sets whether the error is temporary: caused by the current state of the host.
    #[must_use]
    pub(super) fn temporary(self, is_temporary: bool) -> Self {
        Self { is_temporary, ..self }
    }

    /// Converts it to an error of the configuration file.
    pub fn in_config(self, config: &Config) -> ConfigError {
        let hint = if self.is_temporary { address_space::hint() } else { String::new() };
        ConfigError::new(&config.path, self.key, format!("{}{hint}", self.reason)).temporary(self.is_temporary)
    }
}
