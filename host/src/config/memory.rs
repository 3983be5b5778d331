//! The tables about what requests needed: `[memory]`, and a pipeline's `record`.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::Config;
use crate::memory::recordings::Rules;

/// More would make the comparison's cells too few for each.
const MAX_CALLERS: usize = 1_000;

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

impl Config {
    /// Where the recordings of a pipeline go, and their bounds; `None` where its recorder is off.
    pub fn record_rules(&self, pipeline: &str) -> Option<Rules> {
        let Record { dir, max_bytes, max_age } = self.pipelines.get(pipeline)?.record.as_ref()?;
        let own = || self.data_dir().join("recordings").join(pipeline);
        let dir = dir.as_deref().map_or_else(own, |dir| self.resolve(dir));
        Some(Rules { dir, max_bytes: max_bytes.as_u64(), max_age: *max_age })
    }

    /// Settings of these tables that parse but cannot work: key and reason.
    pub(super) fn memory_mistake(&self) -> Option<(String, String)> {
        if !(1..=MAX_CALLERS).contains(&self.memory.top_callers) {
            return Some(("memory.top_callers".into(), format!("a number from 1 to {MAX_CALLERS} is needed")));
        }
        let mut folders: Vec<(PathBuf, &str)> = Vec::new();
        for (name, record) in self.pipelines.iter().filter_map(|(name, it)| Some((name, it.record.as_ref()?))) {
            let told = |key: &str, reason: String| Some((format!("pipelines.{name}.record.{key}"), reason));
            if record.max_bytes.as_u64() == 0 {
                return told("max_bytes", "nothing fits into 0 bytes; leave the table out to record nothing".into());
            }
            if record.max_age.is_zero() {
                return told("max_age", "nothing is that young; leave the table out to record nothing".into());
            }
            if record.dir.is_none() && crate::plugin::check_name(name).is_err() {
                return told("dir", "the pipeline's name is no name of a folder, so name one".into());
            }
            let dir = self.record_rules(name)?.dir;
            if let Some((_, other)) = folders.iter().find(|(known, _)| *known == dir) {
                return told("dir", format!("pipeline `{other}` records into the same folder; give each its own"));
            }
            folders.push((dir, name));
        }
        None
    }
}
