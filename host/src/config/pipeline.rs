//! `[pipelines.NAME]`: the stages of a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canary::{CanaryForm, CanaryRules, canary};
use super::memory::Record;
use super::shadow::ShadowRules;
use super::texts::{Setting, Size, Time, optional_size};
use crate::base::object::{optional_table, table, tables};

/// `[pipelines.NAME]`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The name of the model that the infer stages run.
    pub model: Option<String>,
    /// Maximum time of a whole request, including its time in the queue; default 30 s.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub deadline: Option<Duration>,
    /// Maximum number of its requests that run at the same time; default a fair share of `server.max_concurrency`.
    pub max_concurrency: Option<u32>,
    /// Maximum number of its requests in the queue; default a fair share of `server.max_queue`.
    pub max_queue: Option<u32>,
    /// The chip of requests that name none; required if the pipeline has several chips.
    pub default_chip: Option<String>,
    /// The chip of requests whose own chip is out of service or fails. By default they fail.
    pub fallback: Option<String>,
    /// The first stage.
    #[serde(deserialize_with = "table")]
    pub preprocess: Stage,
    /// One infer stage for each chip.
    #[serde(deserialize_with = "tables")]
    pub chips: BTreeMap<String, Stage>,
    /// The last stage.
    #[serde(deserialize_with = "table")]
    pub postprocess: Stage,
    /// A request body that every new version must answer before it serves. The default is a small bundled image, which
    /// a version may also reject as invalid, unsupported or too large.
    pub sample: Option<PathBuf>,
    /// The share of requests that a new version gets until it is promoted. By default it gets all requests at once.
    #[serde(default, deserialize_with = "canary")]
    #[schemars(with = "Option<CanaryForm>")]
    pub canary: Option<CanaryRules>,
    /// A chip that also computes a share of the requests, to compare its outputs with those of the chip that answers. By
    /// default there is none.
    #[serde(default, deserialize_with = "optional_table")]
    pub shadow: Option<ShadowRules>,
    /// Limits of the inputs that are kept on disk. By default no inputs are kept.
    #[serde(default, deserialize_with = "optional_table")]
    pub record: Option<Record>,
}

impl Pipeline {
    /// Returns true if one of its stages uses the plugin.
    pub fn uses(&self, plugin: &str) -> bool {
        let mut stages = [&self.preprocess, &self.postprocess].into_iter().chain(self.chips.values());
        stages.any(|stage| stage.plugin == plugin)
    }
}

/// A stage of a pipeline.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The plugin's name.
    pub plugin: String,
    /// Overrides the pipeline's model; infer stages only.
    pub model: Option<String>,
    /// The cap for the sum of the stage's linear memories.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    pub max_memory: Option<ByteSize>,
    /// Maximum time of one run.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub deadline: Option<Duration>,
    /// Maximum bytes of a reply or a context.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    pub max_output: Option<ByteSize>,
    /// The values of the plugin's `wasi:config/store`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub config: BTreeMap<String, toml::Value>,
    /// Files that the plugin may read: the name that the plugin uses, and the path.
    #[serde(default)]
    pub assets: BTreeMap<String, PathBuf>,
}

/// The text of a value in `wasi:config/store`. The items of an array are joined by commas.
pub fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
