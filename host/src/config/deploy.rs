//! `[deploy]`: how plugins are deployed.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts::{Size, Time, size};

/// `[deploy]`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deploy {
    /// Number of previous versions of each plugin that stay ready for a rollback.
    pub keep: usize,
    /// How often folders are scanned, for file systems that send no events.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub poll: Duration,
    /// If true, a release is only deployed if a restart remembers it.
    pub require_durable: bool,
    /// Maximum size of a component.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub max_plugin: ByteSize,
    /// Maximum size of a model that is pulled from a registry, with its weights.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub max_model: ByteSize,
    /// How long an upload of a component may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub upload_timeout: Duration,
    /// Maximum bytes of compiled code in the cache; the least recently used code is removed first.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub max_cache: ByteSize,
    /// If true, shipped plugins are compiled quickly at the start, and serve with slower code until optimised code has
    /// replaced it a few seconds later.
    pub quick_start: bool,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            keep: 3,
            poll: Duration::from_secs(2),
            require_durable: false,
            // Components that contain a Python interpreter are about 40 MiB large.
            max_plugin: ByteSize::mib(128),
            max_model: ByteSize::gib(16),
            upload_timeout: Duration::from_secs(300),
            max_cache: ByteSize::gib(2),
            quick_start: true,
        }
    }
}
