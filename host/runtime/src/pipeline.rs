//! A pipeline: preprocess → infer on a chip → postprocess, or a graph of steps between preprocess and postprocess.
//!
//! `plan`: the order of a graph of steps. [`graph`]: the graph with its stages. `run`, `in_flight`: one request in it; `items`: the
//! steps that run for each item. `middle`: the stages of the chips, or a
//! graph. `metered`: the limit of the memory of a request. `slots`, `values`: what steps hand on; `gathered`: the context of gathered items.

mod error;
mod gathered;
pub mod graph;
mod in_flight;
mod items;
mod metered;
mod middle;
mod plan;
mod run;
mod slots;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use error::PipelineError;
pub use graph::Graph;
pub use in_flight::StepInput;
pub use middle::{Middle, SelectedChip};
pub use plan::{Inputs, Plan, PlanError, Shape, Source};

use self::error::failed;
use self::in_flight::Run;
use self::metered::Metered;
use crate::cap::RequestMemory;
use crate::outcome::Outcome;
use crate::panics::fault_point;
use crate::stage::{Bundle, InferStage, PostprocessStage, PreprocessStage, Reply, Request, RunObserver, StageCore};
use crate::tensor::Tensors;

/// The stages of a pipeline, ready to run.
pub struct Pipeline {
    /// The name in the configuration and in URLs.
    pub name: String,
    /// A number derived from everything that decides what the pipeline answers: pipelines with equal versions answer alike,
    /// in every process.
    pub version: String,
    /// The first stage.
    pub preprocess: PreprocessStage,
    /// The infer stage of each chip; empty if the pipeline has steps.
    pub chips: BTreeMap<String, InferStage>,
    /// The steps between the first and the last stage; `None` if the pipeline has three stages.
    pub steps: Option<Arc<Graph>>,
    /// The chips, in their order.
    chip_names: Vec<String>,
    /// The chip of requests that name none.
    pub default_chip: String,
    /// The chip of requests whose own chip is out of service or fails; a key of `chips`.
    pub fallback: Option<String>,
    /// The last stage.
    pub postprocess: PostprocessStage,
    /// The time limit of a whole request.
    pub deadline: Duration,
    /// The most bytes that all live instances and tensors of a request may hold together; `None` for no limit.
    pub max_request_memory: Option<u64>,
}

/// The parts of a [`Pipeline`].
pub struct PipelineParts {
    /// The name.
    pub name: String,
    /// The first stage.
    pub preprocess: PreprocessStage,
    /// What runs between the first and the last stage.
    pub middle: Middle,
    /// The chip of requests that name none.
    pub default_chip: String,
    /// The chip of requests whose own chip is out of service or fails.
    pub fallback: Option<String>,
    /// The last stage.
    pub postprocess: PostprocessStage,
    /// The time limit of a whole request.
    pub deadline: Duration,
    /// The most bytes that all live instances and tensors of a request may hold together; `None` for no limit.
    pub max_request_memory: Option<u64>,
}

impl Pipeline {
    /// Makes a pipeline from its parts.
    pub fn new(parts: PipelineParts) -> Self {
        let PipelineParts { name, preprocess, middle, default_chip, fallback, postprocess, deadline, .. } = parts;
        let max_request_memory = parts.max_request_memory;
        let (chips, steps, chip_names) = match middle {
            Middle::Chips(chips) => {
                let names = chips.keys().cloned().collect();
                (chips, None, names)
            }
            Middle::Steps(graph, names) => (BTreeMap::new(), Some(graph), names),
        };
        let version = String::new();
        let mut this = Self {
            name,
            version,
            preprocess,
            chips,
            steps,
            chip_names,
            default_chip,
            fallback,
            postprocess,
            deadline,
            max_request_memory,
        };
        this.version = this.derived_version();
        this
    }

    fn derived_version(&self) -> String {
        let Self { default_chip, deadline, .. } = self;
        let stages = self.stages().map(|(chip, stage)| format!("{:?} {}", chip.unwrap_or(""), stage.fingerprint()));
        let settings = match &self.fallback {
            None => format!("{default_chip:?} {deadline:?}"),
            Some(fallback) => format!("{default_chip:?} {deadline:?} {fallback:?}"),
        };
        let steps = self.steps.as_ref().map(|steps| steps.fingerprint());
        let memory = self.max_request_memory.map(|bytes| format!("max_request_memory {bytes}"));
        version(std::iter::once(settings).chain(stages).chain(steps).chain(memory))
    }

    /// The names of the chips.
    pub fn chip_names(&self) -> &[String] {
        &self.chip_names
    }

    /// A chip by name, for a request.
    pub fn select(&self, name: &str) -> Option<SelectedChip<'_>> {
        match &self.steps {
            None => self.chips.get(name).map(SelectedChip::Stage),
            Some(steps) => {
                let name = self.chip_names.iter().find(|known| *known == name)?;
                steps.has_chip(name).then_some(SelectedChip::Steps(steps, name))
            }
        }
    }

    /// The chips on which a plugin runs for some requests only.
    pub fn chips_of(&self, plugin: &str) -> Vec<&String> {
        let uses = |chip: &&String| {
            self.stages().any(|(of, stage)| of == Some(chip.as_str()) && *stage.plugin.name == *plugin)
        };
        self.chip_names.iter().filter(uses).collect()
    }

    /// The infer stage of a chip by name; none if the pipeline has steps.
    pub fn chip(&self, name: &str) -> Option<&InferStage> {
        self.chips.get(name)
    }

    /// Returns true if requests that name no chip can be answered: their chip is in service, or the fallback is.
    pub fn is_in_service(&self) -> bool {
        if let Some(steps) = &self.steps {
            return steps.is_in_service(&self.default_chip);
        }
        let fallback = self.fallback.iter();
        let mut chips = std::iter::once(&self.default_chip).chain(fallback).filter_map(|name| self.chips.get(name));
        chips.any(|chip| chip.is_in_service())
    }

    /// All stages in the order in which a request passes through them; infer stages with their chip.
    pub fn stages(&self) -> impl Iterator<Item = (Option<&str>, &Arc<StageCore>)> {
        let chips = self.chips.iter().map(|(chip, stage)| (Some(chip.as_str()), stage.core()));
        let steps = self.steps.iter().flat_map(|steps| steps.stages());
        let middle = chips.chain(steps);
        std::iter::once((None, self.preprocess.core())).chain(middle).chain([(None, self.postprocess.core())])
    }

    /// Runs all stages: from the body of a request to its reply. `chip` is the chip that the request was routed to.
    ///
    /// # Errors
    /// The stage that failed.
    pub async fn run<'a>(
        &'a self,
        chip: impl Into<SelectedChip<'a>>,
        observer: &mut dyn RunObserver,
        request: &Request,
        body: &[u8],
    ) -> Result<Reply, PipelineError> {
        let chip = chip.into();
        match self.max_request_memory {
            None => self.run_stages(chip, observer, request, body).await,
            Some(limit) => {
                let mut metered = Metered { inner: observer, memory: RequestMemory::new(limit) };
                self.run_stages(chip, &mut metered, request, body).await
            }
        }
    }

    async fn run_stages(
        &self,
        chip: SelectedChip<'_>,
        observer: &mut dyn RunObserver,
        request: &Request,
        body: &[u8],
    ) -> Result<Reply, PipelineError> {
        fault_point("pipeline");
        let prepared = self.preprocess.run(observer, request, body).await;
        let (inputs, context) = prepared.map_err(failed(self.preprocess.core()))?;
        let reply = match chip {
            SelectedChip::Stage(infer) => {
                let outputs = self.run_infer(infer, observer, request, inputs).await?;
                self.postprocess.run(observer, request, outputs, &context).await
            }
            SelectedChip::Steps(graph, chip) => {
                let prepared = Bundle { tensors: inputs, context: context.into() };
                let last = self.postprocess.core();
                let run = Run::new(graph, chip, request, &last.scheduler);
                let Bundle { tensors, context } = run::run(run, observer, prepared, last).await?;
                self.postprocess.run(observer, request, tensors, &context).await
            }
        };
        reply.map_err(failed(self.postprocess.core()))
    }

    /// Runs the steps before a step, from the body of a request. Returns what the step takes: one input, or one for each item.
    /// Items that fail before it are left out if the pipeline lets them fail alone. The step is not preprocessing.
    ///
    /// # Errors
    /// The stage that failed.
    pub async fn step_inputs(
        &self,
        graph: &Arc<Graph>,
        (chip, step): (&str, &str),
        observer: &mut dyn RunObserver,
        request: &Request,
        body: &[u8],
    ) -> Result<Vec<StepInput>, PipelineError> {
        let prepared = self.preprocess.run(observer, request, body).await;
        let (tensors, context) = prepared.map_err(failed(self.preprocess.core()))?;
        let last = self.postprocess.core();
        let number = graph.steps.iter().position(|known| known.name == step).unwrap_or(graph.steps.len()) + 1;
        let run = Run::new(graph, chip, request, &last.scheduler);
        run::inputs(run, observer, Bundle { tensors, context: context.into() }, number, last).await
    }

    /// Runs one infer stage. If its device fails or is out of service, the fallback runs instead.
    ///
    /// # Errors
    /// The stage failed, or the fallback did.
    pub async fn run_infer(
        &self,
        infer: &InferStage,
        observer: &mut dyn RunObserver,
        request: &Request,
        inputs: Tensors,
    ) -> Result<Tensors, PipelineError> {
        observer.inferring(infer.core(), None, &inputs);
        let outputs = self.run_infer_or_fallback(infer, observer, request, inputs).await?;
        observer.inferred(&outputs);
        Ok(outputs)
    }

    async fn run_infer_or_fallback(
        &self,
        infer: &InferStage,
        observer: &mut dyn RunObserver,
        request: &Request,
        inputs: Tensors,
    ) -> Result<Tensors, PipelineError> {
        let fallback = self.fallback.as_ref().and_then(|name| Some((name, self.chips.get(name)?)));
        // Chips with equal settings share a stage, and with it the device.
        let Some((name, fallback)) = fallback.filter(|(_, stage)| !Arc::ptr_eq(stage.core(), infer.core())) else {
            return infer.run(observer, request, inputs).await.map_err(failed(infer.core()));
        };
        if infer.is_in_service() {
            let result = infer.run(observer, request, inputs.clone()).await;
            if !result.as_ref().is_err_and(|error| error.outcome == Outcome::DeviceFailure) {
                return result.map_err(failed(infer.core()));
            }
        }
        observer.chip_changed(name);
        fallback.run(observer, request, inputs).await.map_err(failed(fallback.core()))
    }
}

/// 32 bits of the SHA-256 of all parts, as a decimal number.
fn version(parts: impl Iterator<Item = String>) -> String {
    let digest = Sha256::digest(parts.collect::<Vec<_>>().join("\n"));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).to_string()
}
