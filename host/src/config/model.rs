//! `[models.NAME]`: a model and how it runs.

use std::path::PathBuf;
use std::time::Duration;

use plimsoll_runtime::nn::{BackendName, BatchRules, Device};
use serde::Deserialize;

/// `[models.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The ONNX file, relative to the configuration file.
    pub file: PathBuf,
    /// The library that runs it.
    #[serde(default)]
    pub backend: BackendName,
    /// The device to run on; default: the CPU.
    #[serde(default)]
    pub target: Device,
    /// Maximum rows of one run, combined from requests that wait at the same time. By default runs are not combined.
    pub max_batch: Option<u32>,
    /// How long the first request of a batch waits for others; default 2 ms.
    #[serde(default, with = "humantime_serde")]
    pub max_delay: Option<Duration>,
}

impl Model {
    /// The batching rules; `None` if runs are not combined.
    pub fn batch_rules(&self) -> Option<BatchRules> {
        /// Shorter than a run of all but the smallest networks, so a single caller waits only a little longer.
        const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(2);
        let max_batch = self.max_batch?;
        Some(BatchRules { max_batch, max_delay: self.max_delay.unwrap_or(DEFAULT_MAX_DELAY) })
    }
}
