//! `[[pipelines.NAME.steps]]`: a step of a pipeline that is more than three stages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::kind::StageKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shadow::ShadowRules;
use super::stage::Stage;
use super::texts::{Setting, Size, Time, optional_size};
use crate::base::object::{optional_table, tables};

/// The most items that a step may make, if it does not say.
pub const MAX_ITEMS: u32 = 64;

/// A step of a pipeline.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: StageKind,
    /// Its stage; `None` if it has chips.
    pub stage: Option<Stage>,
    /// Its stage on each chip.
    pub chips: BTreeMap<String, Stage>,
    /// The steps that it takes tensors from: `STEP`, `STEP.TENSOR` or `STEP.TENSOR as NAME`. The default is the step before.
    pub from: Option<Vec<String>>,
    /// True if it runs once for all items.
    pub gather: bool,
    /// True if it makes items.
    pub items: bool,
    /// The most items.
    pub max_items: Option<u32>,
    /// True if an item that fails is an error of its own, and not of the request.
    pub partial: bool,
    /// A chip that also computes a share of its runs, to compare its outputs.
    pub shadow: Option<ShadowRules>,
}

/// The keys of a step in the file.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step")]
struct Keys {
    /// The name of the step.
    name: String,
    /// `preprocess`, `infer`, `transform` or `postprocess`.
    kind: String,
    /// The plugin's name; without it, the step has `chips`.
    plugin: Option<String>,
    /// Overrides the pipeline's model; infer steps only.
    model: Option<String>,
    /// The cap for the sum of the step's linear memories.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    max_memory: Option<ByteSize>,
    /// Maximum time of one run.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    deadline: Option<Duration>,
    /// Maximum bytes of a reply or a context.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    max_output: Option<ByteSize>,
    /// The values of the plugin's `wasi:config/store`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    config: BTreeMap<String, toml::Value>,
    /// Files that the plugin may read: the name that the plugin uses, and the path.
    #[serde(default)]
    assets: BTreeMap<String, PathBuf>,
    /// The stage of each chip, instead of `plugin`.
    #[serde(default, deserialize_with = "tables")]
    chips: BTreeMap<String, Stage>,
    /// The steps that it takes tensors from: `STEP`, `STEP.TENSOR` or `STEP.TENSOR as NAME`. The default is the step before.
    from: Option<Vec<String>>,
    /// True if it runs once for all items.
    #[serde(default)]
    gather: bool,
    /// True if it makes items.
    #[serde(default)]
    items: bool,
    /// The most items.
    max_items: Option<u32>,
    /// True if an item that fails is an error of its own, and not of the request.
    #[serde(default)]
    partial: bool,
    /// A chip that also computes a share of its runs, to compare its outputs; only a step with chips has one.
    #[serde(default, deserialize_with = "optional_table")]
    shadow: Option<ShadowRules>,
}

impl From<Step> for Keys {
    fn from(step: Step) -> Self {
        let Step { name, kind, stage, chips, from, gather, items, max_items, partial, shadow } = step;
        let kind = kind.as_str().to_owned();
        let plugin = stage.as_ref().map(|stage| stage.plugin.clone());
        let (model, max_memory, deadline, max_output, config, assets) = stage.map_or_else(Default::default, |stage| {
            let Stage { plugin: _, model, max_memory, deadline, max_output, config, assets } = stage;
            (model, max_memory, deadline, max_output, config, assets)
        });
        Self {
            name,
            kind,
            plugin,
            model,
            max_memory,
            deadline,
            max_output,
            config,
            assets,
            chips,
            from,
            gather,
            items,
            max_items,
            partial,
            shadow,
        }
    }
}

impl JsonSchema for Step {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Keys::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Keys::json_schema(generator)
    }
}

impl TryFrom<Keys> for Step {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Keys { name, kind, plugin, model, max_memory, deadline, max_output, config, assets, .. } = keys;
        let Keys { chips, from, gather, items, max_items, partial, shadow, .. } = keys;
        let at = |reason: String| format!("step `{name}`: {reason}");
        let kind: StageKind = kind.parse().map_err(|error| at(format!("`kind`: {error}")))?;
        let is_plain = model.is_none()
            && max_memory.is_none()
            && deadline.is_none()
            && max_output.is_none()
            && config.is_empty()
            && assets.is_empty();
        let stage = match plugin {
            Some(_) if !chips.is_empty() => {
                return Err(at("it has `plugin` and `chips`; name the plugin of each chip, or remove `chips`".into()));
            }
            Some(plugin) => Some(Stage { plugin, model, max_memory, deadline, max_output, config, assets }),
            None if chips.is_empty() => return Err(at("`plugin` is missing".into())),
            None if !is_plain => {
                return Err(at("it has `chips`: set model, limits, `config` and `assets` of each chip".into()));
            }
            None => None,
        };
        Ok(Self { name, kind, stage, chips, from, gather, items, max_items, partial, shadow })
    }
}

impl Step {
    /// Its stages, each with its key in the table of the pipeline.
    pub fn stages(&self) -> impl Iterator<Item = (String, &Stage)> {
        let own = self.stage.iter().map(|stage| (format!("steps.{}", self.name), stage));
        own.chain(self.chips.iter().map(|(chip, stage)| (format!("steps.{}.chips.{chip}", self.name), stage)))
    }
}
