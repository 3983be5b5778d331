//! The tables of models and of the libraries that run them: `[models.NAME]` and `[backends]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Target;
use crate::nn::batch::Rules;

/// `[backends]`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Backends {
    /// `[backends.onnxruntime]`.
    #[serde(default)]
    pub onnxruntime: OnnxRuntime,
}

/// `[backends.onnxruntime]`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OnnxRuntime {
    /// Path of libonnxruntime.so; default the variable `ORT_DYLIB_PATH`.
    pub library: Option<PathBuf>,
    /// Threads of one run; default 1.
    pub threads: Option<usize>,
    /// Runs of one model that may go on at once, each in a session with its own copy of the weights; default one for
    /// each core, at most 4.
    pub sessions: Option<usize>,
}

/// `[models.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The ONNX file, relative to the configuration file.
    pub file: PathBuf,
    /// The library that runs it.
    #[serde(default)]
    pub backend: BackendName,
    /// What it runs on; default the processor.
    #[serde(default)]
    pub target: Target,
    /// Rows of one run at most, gathered from requests that wait at the same time; default none: each run is alone.
    pub max_batch: Option<u32>,
    /// How long the first request of a batch waits for others; default 2 ms.
    #[serde(default, with = "humantime_serde")]
    pub max_delay: Option<Duration>,
}

impl Model {
    /// The rules of its batches; `None` where runs are not gathered.
    pub fn batches(&self) -> Option<Rules> {
        /// Shorter than the run of any but the smallest network, so that a caller who is alone hardly waits.
        const MAX_DELAY: Duration = Duration::from_millis(2);
        let max_batch = self.max_batch?;
        Some(Rules { max_batch, max_delay: self.max_delay.unwrap_or(MAX_DELAY) })
    }
}

/// The libraries that run models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// Embedded, pure Rust.
    #[default]
    Rten,
    /// ONNX Runtime, loaded at run time.
    OnnxRuntime,
}
