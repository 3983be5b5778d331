//! A pipeline: preprocess → infer on a chip → postprocess.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::outcome::Outcome;
use crate::stage::{InferStage, PostprocessStage, PreprocessStage, Reply, Request, RunObserver, StageCore, StageError};
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
    /// The infer stage of each chip.
    pub chips: BTreeMap<String, InferStage>,
    /// The chip of requests that name none; a key of `chips`.
    pub default_chip: String,
    /// The chip of requests whose own chip is out of service or fails; a key of `chips`.
    pub fallback: Option<String>,
    /// The last stage.
    pub postprocess: PostprocessStage,
    /// The time limit of a whole request.
    pub deadline: Duration,
}

/// The parts of a [`Pipeline`].
pub struct PipelineParts {
    /// The name.
    pub name: String,
    /// The first stage.
    pub preprocess: PreprocessStage,
    /// The infer stage of each chip.
    pub chips: BTreeMap<String, InferStage>,
    /// The chip of requests that name none.
    pub default_chip: String,
    /// The chip of requests whose own chip is out of service or fails.
    pub fallback: Option<String>,
    /// The last stage.
    pub postprocess: PostprocessStage,
    /// The time limit of a whole request.
    pub deadline: Duration,
}

/// The stage that failed, and how.
#[derive(Debug)]
pub struct PipelineError<'a> {
    /// The stage.
    pub stage: &'a StageCore,
    /// How it ended.
    pub error: StageError,
}

impl Pipeline {
    /// Makes a pipeline from its parts.
    pub fn new(parts: PipelineParts) -> Self {
        let PipelineParts { name, preprocess, chips, default_chip, fallback, postprocess, deadline } = parts;
        let infer = chips.iter().map(|(chip, stage)| (chip.as_str(), &**stage.core()));
        let stages = std::iter::once(("", &**preprocess.core())).chain(infer).chain([("", &**postprocess.core())]);
        let stages = stages.map(|(chip, stage)| format!("{chip:?} {}", stage.fingerprint()));
        let settings = match &fallback {
            None => format!("{default_chip:?} {deadline:?}"),
            Some(fallback) => format!("{default_chip:?} {deadline:?} {fallback:?}"),
        };
        let version = version(std::iter::once(settings).chain(stages));
        Self { name, version, preprocess, chips, default_chip, fallback, postprocess, deadline }
    }

    /// The infer stage of a chip by name.
    pub fn chip(&self, name: &str) -> Option<&InferStage> {
        self.chips.get(name)
    }

    /// Returns true if requests that name no chip can be answered: their chip is in service, or the fallback is.
    pub fn is_in_service(&self) -> bool {
        let fallback = self.fallback.iter();
        let mut chips = std::iter::once(&self.default_chip).chain(fallback).filter_map(|name| self.chips.get(name));
        chips.any(|chip| chip.is_in_service())
    }

    /// All stages in the order in which a request passes through them; infer stages with their chip.
    pub fn stages(&self) -> impl Iterator<Item = (Option<&str>, &Arc<StageCore>)> {
        let chips = self.chips.iter().map(|(chip, stage)| (Some(chip.as_str()), stage.core()));
        std::iter::once((None, self.preprocess.core())).chain(chips).chain([(None, self.postprocess.core())])
    }

    /// Runs all stages: from the body of a request to its reply. `infer` is the stage of the chip that the request was routed
    /// to.
    ///
    /// # Errors
    /// The stage that failed.
    pub async fn run<'a>(
        &'a self,
        infer: &'a InferStage,
        observer: &mut dyn RunObserver,
        request: &Request,
        body: &[u8],
    ) -> Result<Reply, PipelineError<'a>> {
        let failed = |stage| move |error| PipelineError { stage, error };
        let prepared = self.preprocess.run(observer, request, body).await;
        let (inputs, context) = prepared.map_err(failed(&self.preprocess))?;
        let outputs = self.run_infer(infer, observer, request, inputs).await?;
        let reply = self.postprocess.run(observer, request, outputs, &context).await;
        reply.map_err(failed(&self.postprocess))
    }

    /// Runs one infer stage. If its device fails or is out of service, the fallback runs instead.
    ///
    /// # Errors
    /// The stage failed, or the fallback did.
    pub async fn run_infer<'a>(
        &'a self,
        infer: &'a InferStage,
        observer: &mut dyn RunObserver,
        request: &Request,
        inputs: Tensors,
    ) -> Result<Tensors, PipelineError<'a>> {
        observer.inferring(&inputs);
        let outputs = self.run_infer_or_fallback(infer, observer, request, inputs).await?;
        observer.inferred(&outputs);
        Ok(outputs)
    }

    async fn run_infer_or_fallback<'a>(
        &'a self,
        infer: &'a InferStage,
        observer: &mut dyn RunObserver,
        request: &Request,
        inputs: Tensors,
    ) -> Result<Tensors, PipelineError<'a>> {
        let failed = |stage| move |error| PipelineError { stage, error };
        let fallback = self.fallback.as_ref().and_then(|name| Some((name, self.chips.get(name)?)));
        // Chips with equal settings share a stage, and with it the device.
        let Some((name, fallback)) = fallback.filter(|(_, stage)| !Arc::ptr_eq(stage.core(), infer.core())) else {
            return infer.run(observer, request, inputs).await.map_err(failed(infer));
        };
        if infer.is_in_service() {
            let result = infer.run(observer, request, inputs.clone()).await;
            if !result.as_ref().is_err_and(|error| error.outcome == Outcome::DeviceFailure) {
                return result.map_err(failed(infer));
            }
        }
        observer.chip_changed(name);
        fallback.run(observer, request, inputs).await.map_err(failed(fallback))
    }
}

/// 32 bits of the SHA-256 of all parts, as a decimal number.
fn version(parts: impl Iterator<Item = String>) -> String {
    let digest = Sha256::digest(parts.collect::<Vec<_>>().join("\n"));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).to_string()
}
