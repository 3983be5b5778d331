//! `[[pipelines.NAME.steps]]`: a step of a pipeline that is more than three stages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::kind::StageKind;
use serde::Deserialize;

use super::stage::Stage;
use crate::base::object::tables;

/// The most items that a step may make, if it does not say.
pub const MAX_ITEMS: u32 = 64;

/// A step of a pipeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: StageKind,
    /// Its stage; `None` if it has chips.
    pub stage: Option<Stage>,
    /// Its stage on each chip.
    pub chips: BTreeMap<String, Stage>,
    /// The steps that it takes tensors from: `STEP`, or `STEP.TENSOR`. The default is the step before.
    pub from: Option<Vec<String>>,
    /// True if it runs once for all items.
    pub gather: bool,
    /// True if it makes items.
    pub items: bool,
    /// The most items.
    pub max_items: Option<u32>,
    /// True if an item that fails is an error of its own, and not of the request.
    pub partial: bool,
}

/// The keys of a step in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    name: String,
    kind: String,
    plugin: Option<String>,
    model: Option<String>,
    max_memory: Option<ByteSize>,
    #[serde(default, with = "humantime_serde")]
    deadline: Option<Duration>,
    max_output: Option<ByteSize>,
    #[serde(default)]
    config: BTreeMap<String, toml::Value>,
    #[serde(default)]
    assets: BTreeMap<String, PathBuf>,
    #[serde(default, deserialize_with = "tables")]
    chips: BTreeMap<String, Stage>,
    from: Option<Vec<String>>,
    #[serde(default)]
    gather: bool,
    #[serde(default)]
    items: bool,
    max_items: Option<u32>,
    #[serde(default)]
    partial: bool,
}

impl TryFrom<Keys> for Step {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Keys { name, kind, plugin, model, max_memory, deadline, max_output, config, assets, .. } = keys;
        let Keys { chips, from, gather, items, max_items, partial, .. } = keys;
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
        Ok(Self { name, kind, stage, chips, from, gather, items, max_items, partial })
    }
}

impl Step {
    /// Its stages, each with its key in the table of the pipeline.
    pub fn stages(&self) -> impl Iterator<Item = (String, &Stage)> {
        let own = self.stage.iter().map(|stage| (format!("steps.{}", self.name), stage));
        own.chain(self.chips.iter().map(|(chip, stage)| (format!("steps.{}.chips.{chip}", self.name), stage)))
    }
}
