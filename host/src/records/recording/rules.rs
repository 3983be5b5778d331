//! The limits of the recordings of a pipeline.

use std::path::PathBuf;
use std::time::Duration;

/// The folder of recordings, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRules {
    /// The folder.
    pub dir: PathBuf,
    /// Maximum bytes on disk. If they are exceeded, the oldest recordings are removed first.
    pub max_bytes: u64,
    /// Maximum age of a recording. Older ones are removed.
    pub max_age: Duration,
    /// True if the facts of each are one line, so that all of them together are JSON Lines.
    pub one_line: bool,
}
