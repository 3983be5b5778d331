//! The limits of the recordings of a pipeline.

use std::path::PathBuf;
use std::time::Duration;

/// The folder of recordings, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRules {
    /// Their folder.
    pub dir: PathBuf,
    /// Bytes on disk; the oldest go first.
    pub max_bytes: u64,
    /// How long one is kept.
    pub max_age: Duration,
}
