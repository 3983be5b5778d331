//! `[pipelines.NAME]`: the stages of a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::canary::{CanaryRules, canary};
use super::memory::Record;

/// `[pipelines.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The name of the model that the infer stages run.
    pub model: Option<String>,
    /// Time of a whole request, its queueing included; default 30 s.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// The chip of requests that name none; needed where there are several.
    pub default_chip: Option<String>,
    /// The first stage.
    pub preprocess: Stage,
    /// One infer stage for each chip.
    pub chips: BTreeMap<String, Stage>,
    /// The last stage.
    pub postprocess: Stage,
    /// A body that every new version must answer before it serves; default a small bundled image, which it may
    /// also decline.
    pub sample: Option<PathBuf>,
    /// The share of requests that a new version gets until it has proven itself; default none.
    #[serde(default, deserialize_with = "canary")]
    pub canary: Option<CanaryRules>,
    /// Which inputs are kept on disk; default none.
    pub record: Option<Record>,
}

/// A stage of a pipeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The plugin's name.
    pub plugin: String,
    /// Overrides the pipeline's model; infer stages only.
    pub model: Option<String>,
    /// The cap over the sum of the stage's linear memories.
    pub max_memory: Option<ByteSize>,
    /// The time of one run.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// Bytes of a reply or a context.
    pub max_output: Option<ByteSize>,
    /// `wasi:config/store` of the plugin.
    #[serde(default)]
    pub config: BTreeMap<String, toml::Value>,
    /// Files that the plugin may read: its name for them, and the path.
    #[serde(default)]
    pub assets: BTreeMap<String, PathBuf>,
}

/// The text by which `wasi:config/store` gives a value: arrays as their items joined by commas.
pub fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
