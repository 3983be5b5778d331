//! A served pipeline, and the errors of looking one up.

use std::ops::Deref;
use std::sync::Arc;

use plimsoll_runtime::pipeline::{Pipeline, SelectedChip};
use plimsoll_runtime::stage::{Asset, InferStage};
use plimsoll_runtime::text::{listed, shortened};

use super::capture::Capture;
use super::shadow::Shadow;
use crate::config::CanaryRules;
use crate::records::recording::InputRecorder;

/// A pipeline with its settings for deployment and recording.
pub struct ServedPipeline {
    /// The stages.
    pub pipeline: Pipeline,
    /// The request body that a new version must answer; `None` for the bundled sample.
    pub sample: Option<Asset>,
    /// How a new version is put on canary; `None` if it serves at once.
    pub canary: Option<CanaryRules>,
    /// The chips that also compute a share of the runs of an infer stage: at most one for each stage.
    pub shadows: Vec<Shadow>,
    /// Maximum number of its requests that run at the same time; `None` for a fair share.
    pub max_concurrency: Option<u32>,
    /// Maximum number of its requests in the queue; `None` for a fair share.
    pub max_queue: Option<u32>,
    /// Records inputs; `None` if they are not recorded.
    pub recorder: Option<Arc<InputRecorder>>,
    /// Keeps a share of the requests with their replies; `None` if none is kept.
    pub capture: Option<Capture>,
}

impl Deref for ServedPipeline {
    type Target = Pipeline;

    fn deref(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl ServedPipeline {
    /// A chip, for a request.
    ///
    /// # Errors
    /// If there is no such chip.
    pub fn find_chip(&self, name: &str) -> Result<SelectedChip<'_>, NotServed> {
        self.select(name).ok_or_else(|| self.no_chip(name))
    }

    /// The infer stage of a chip.
    ///
    /// # Errors
    /// If there is no such chip, or the pipeline has steps.
    pub fn find_infer(&self, name: &str) -> Result<&InferStage, NotServed> {
        if self.steps.is_some() {
            return Err(NotServed::NoStage { pipeline: self.name.clone() });
        }
        self.chip(name).ok_or_else(|| self.no_chip(name))
    }

    /// The infer stage of a step on a chip.
    ///
    /// # Errors
    /// If there is no such chip, or no step of this name that runs a model.
    pub fn find_step(&self, step: &str, chip: &str) -> Result<&InferStage, NotServed> {
        self.find_chip(chip)?;
        let stage = self.steps.as_ref().and_then(|steps| steps.infer_stage(step, chip));
        stage.ok_or_else(|| NotServed::NoStage { pipeline: self.name.clone() })
    }

    /// An infer stage by its name in reports: `infer`, or that of its step.
    pub fn infer_stage(&self, stage: &str, chip: &str) -> Option<&InferStage> {
        match &self.steps {
            None => self.chip(chip),
            Some(steps) => steps.infer_stage(stage, chip),
        }
    }

    /// The shadow of an infer stage, by its name in reports.
    pub fn shadow_of(&self, stage: &str) -> Option<&Shadow> {
        self.shadows.iter().find(|shadow| shadow.stage.as_str() == stage)
    }

    fn no_chip(&self, name: &str) -> NotServed {
        NotServed::Chip {
            pipeline: self.name.clone(),
            chip: name.to_owned(),
            known: listed(self.chip_names().iter().map(String::as_str)),
        }
    }
}

/// A pipeline or chip that is not served.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// There is no such pipeline.
    #[error("there is no pipeline `{}`; the pipelines are {known}", shortened(name))]
    Pipeline {
        /// The name that was given.
        name: String,
        /// The names of the served pipelines, joined by commas.
        known: String,
    },
    /// The pipeline is unloaded.
    #[error("pipeline `{name}` is unloaded; POST /v2/repository/models/{name}/load loads it again")]
    Unloaded {
        /// Its name.
        name: String,
    },
    /// The pipeline has steps.
    #[error("pipeline `{pipeline}` has steps, so it has no infer stage of its own")]
    NoStage {
        /// The pipeline.
        pipeline: String,
    },
    /// The pipeline has no such chip.
    #[error("pipeline `{pipeline}` has no chip `{}`; it has {known}", shortened(chip))]
    Chip {
        /// The pipeline.
        pipeline: String,
        /// The name that was given.
        chip: String,
        /// The names of its chips, joined by commas.
        known: String,
    },
}
