//! The tables for the memory report and recordings: `[memory]`, and a pipeline's `record` and `capture`.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::share::share;
use super::texts::{Share, Size, Time, share_text, size};

/// Maximum of `top_callers`. With more callers, each would have too few cells of the comparison.
pub(super) const MAX_CALLERS: usize = 1_000;

/// `[memory]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// The header that names the caller.
    #[serde(deserialize_with = "header")]
    #[serde(serialize_with = "header_text")]
    #[schemars(with = "String")]
    pub caller_header: HeaderName,
    /// How many callers are tracked by bytes, and how many by requests.
    pub top_callers: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { caller_header: HeaderName::from_static("x-plimsoll-caller"), top_callers: 100 }
    }
}

/// `[pipelines.NAME.record]`: keeps inputs that set a new high-water mark or met a limit. An empty table
/// is enough.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Folder of the recordings, relative to the file; default `recordings/NAME` in the data folder.
    pub dir: Option<PathBuf>,
    /// Maximum bytes on disk; the oldest recordings are deleted first.
    #[serde(serialize_with = "size")]
    #[schemars(with = "Size")]
    pub max_bytes: ByteSize,
    /// How long a recording is kept.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub max_age: Duration,
}

impl Default for Record {
    fn default() -> Self {
        Self { dir: None, max_bytes: max_bytes(), max_age: max_age() }
    }
}

/// `[pipelines.NAME.capture]`: keeps a share of the requests with their replies.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The part of the requests that are kept; written as `"0.1%"`.
    #[serde(deserialize_with = "share")]
    #[serde(serialize_with = "share_text")]
    #[schemars(with = "Share")]
    pub share: f64,
    /// Folder of the captures, relative to the file; default `captures/NAME` in the data folder.
    pub dir: Option<PathBuf>,
    /// Maximum bytes on disk; the oldest captures are deleted first.
    #[serde(default = "max_bytes", serialize_with = "size")]
    #[schemars(with = "Size")]
    pub max_bytes: ByteSize,
    /// How long a capture is kept.
    #[serde(default = "max_age", with = "humantime_serde")]
    #[schemars(with = "Time")]
    pub max_age: Duration,
}

fn max_bytes() -> ByteSize {
    ByteSize::mib(256)
}

fn max_age() -> Duration {
    Duration::from_secs(7 * 24 * 60 * 60)
}

fn header_text<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!("`{text}` is not a valid header name; use a name such as \"x-customer\""))
    })
}
