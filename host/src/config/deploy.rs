//! The tables about deployments: `[deploy]` and `[admin]`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

/// `[deploy]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deploy {
    /// Number of previous versions of each plugin that stay ready for a rollback.
    pub keep: usize,
    /// How often folders are scanned, for file systems that send no events.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Maximum size of a component.
    pub max_plugin: ByteSize,
    /// Maximum bytes of compiled code in the cache; the least recently used code is removed first.
    pub max_cache: ByteSize,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            keep: 3,
            poll: Duration::from_secs(2),
            // Components that contain a Python interpreter have about 40 MiB.
            max_plugin: ByteSize::mib(128),
            max_cache: ByteSize::gib(2),
        }
    }
}

/// `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The file with the bearer token of the administration routes. If it is not set, the token is read from the
    /// environment variable `PLIMSOLL_ADMIN_TOKEN`.
    pub token_file: Option<PathBuf>,
}
