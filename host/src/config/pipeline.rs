//! `[pipelines.NAME]`: the stages of a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::kind::StageKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canary::{CanaryForm, CanaryRules, canary};
use super::memory::{Capture, Record};
use super::shadow::ShadowRules;
use super::stage::Stage;
use super::step::Step;
use super::texts::{Size, Time, optional_size};
use crate::base::object::{optional_table, tables};

/// The chip of a pipeline whose steps have none.
pub const ONLY_CHIP: &str = "default";

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
    /// The most memory that all live instances and tensors of a request may hold together; default 1 GiB with `steps`, and
    /// no limit without.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    pub max_request_memory: Option<ByteSize>,
    /// Maximum number of its requests that run at the same time; default a fair share of `server.max_concurrency`.
    pub max_concurrency: Option<u32>,
    /// Maximum number of its requests in the queue; default a fair share of `server.max_queue`.
    pub max_queue: Option<u32>,
    /// The chip of requests that name none; required if the pipeline has several chips.
    pub default_chip: Option<String>,
    /// The chip of requests whose own chip is out of service or fails. By default they fail.
    pub fallback: Option<String>,
    /// The first stage; required without `steps`.
    #[serde(default, deserialize_with = "optional_table")]
    pub preprocess: Option<Stage>,
    /// One infer stage for each chip; required without `steps`.
    #[serde(default, deserialize_with = "tables")]
    pub chips: BTreeMap<String, Stage>,
    /// The last stage; required without `steps`.
    #[serde(default, deserialize_with = "optional_table")]
    pub postprocess: Option<Stage>,
    /// The steps, instead of the three stages.
    #[serde(default)]
    pub steps: Vec<Step>,
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
    /// A share of the requests that is kept on disk with its replies. By default none is kept.
    #[serde(default, deserialize_with = "optional_table")]
    pub capture: Option<Capture>,
}

impl Pipeline {
    /// Returns true if one of its stages uses the plugin.
    pub fn uses(&self, plugin: &str) -> bool {
        self.plugins().any(|known| known == plugin)
    }

    /// The plugins of all stages, in their order; a plugin of several stages is repeated.
    pub fn plugins(&self) -> impl Iterator<Item = &str> {
        let own = self.preprocess.iter().chain(self.chips.values()).chain(&self.postprocess);
        let of_steps = self.steps.iter().flat_map(|step| step.stage.iter().chain(step.chips.values()));
        own.chain(of_steps).map(|stage| stage.plugin.as_str())
    }

    /// All stages in their order, each with its key in the table of the pipeline.
    pub fn stages(&self) -> Vec<(String, &Stage)> {
        let preprocess = self.preprocess.iter().map(|stage| ("preprocess".to_owned(), stage));
        let chips = self.chips.iter().map(|(chip, stage)| (format!("chips.{chip}"), stage));
        let postprocess = self.postprocess.iter().map(|stage| ("postprocess".to_owned(), stage));
        let steps = self.steps.iter().flat_map(Step::stages);
        preprocess.chain(chips).chain(postprocess).chain(steps).collect()
    }

    /// The parts of the pipeline that are models of the Open Inference Protocol for tensors.
    pub fn models(&self) -> Vec<&str> {
        if self.steps.is_empty() {
            return vec![StageKind::Infer.as_str()];
        }
        let infers = self.steps.iter().filter(|step| step.kind == StageKind::Infer);
        infers.map(|step| step.name.as_str()).collect()
    }

    /// The names of the chips, in their order.
    pub fn chip_names(&self) -> Vec<&str> {
        if self.steps.is_empty() {
            return self.chips.keys().map(String::as_str).collect();
        }
        let chips = self.steps.iter().map(|step| &step.chips).find(|chips| !chips.is_empty());
        chips.map_or_else(|| vec![ONLY_CHIP], |chips| chips.keys().map(String::as_str).collect())
    }
}
