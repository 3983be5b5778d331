//! The tables about what requests needed: `[memory]`, and a pipeline's `record`.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Maximum of `top_callers`. With more callers, each would have too few cells of the comparison.
pub(super) const MAX_CALLERS: usize = 1_000;

/// `[memory]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// The header that names the caller.
    #[serde(deserialize_with = "header")]
    pub caller_header: HeaderName,
    /// How many callers are tracked by bytes, and how many by requests.
    pub top_callers: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { caller_header: HeaderName::from_static("x-plimsoll-caller"), top_callers: 100 }
    }
}

/// `[pipelines.NAME.record]`: keeps inputs that set a new high-water mark or met a limit. An empty table will do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Where they are kept, relative to the file; default `recordings/NAME` in the data folder.
    pub dir: Option<PathBuf>,
    /// Bytes on disk; the oldest go first.
    pub max_bytes: ByteSize,
    /// How long one is kept.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

impl Default for Record {
    fn default() -> Self {
        Self { dir: None, max_bytes: ByteSize::mib(256), max_age: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no name of a header; write one as \"x-customer\"")))
}
