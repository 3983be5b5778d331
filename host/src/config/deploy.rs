//! The tables about deployments: `[deploy]` and `[admin]`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

/// `[deploy]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deploy {
    /// Previous versions of each plugin that stay ready for a rollback.
    pub keep: usize,
    /// How often folders are looked at, for file systems that send no events.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// The largest component that is taken.
    pub max_plugin: ByteSize,
    /// Bytes of compiled code that the cache keeps; the least recently used go first.
    pub max_cache: ByteSize,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            keep: 3,
            poll: Duration::from_secs(2),
            // Components that carry an interpreter of Python have about 40 MiB.
            max_plugin: ByteSize::mib(128),
            max_cache: ByteSize::gib(2),
        }
    }
}

/// `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The file that holds the bearer token of the administration routes; else the variable `PLIMSOLL_ADMIN_TOKEN`.
    pub token_file: Option<PathBuf>,
}
