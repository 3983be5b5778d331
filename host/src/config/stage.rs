//! A stage of a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts::{Setting, Size, Time, optional_size};

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
