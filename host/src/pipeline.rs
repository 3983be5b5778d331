//! A pipeline: preprocess → infer on a chip → postprocess.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Canary;
use crate::memory::recordings::Recordings;
use crate::stage::bindings::{Reply, Request};
use crate::stage::run::Tensors;
use crate::stage::state::Asset;
use crate::stage::{Stage, StageError};
use crate::trace::Trace;

/// A named list of stages that is ready to run.
pub struct Pipeline {
    /// As the configuration and the URL name it.
    pub name: String,
    /// A number made of all that decides what the pipeline answers: equal ones answer alike, in every process.
    pub version: String,
    /// The first stage.
    pub preprocess: Arc<Stage>,
    /// The infer stage of each chip.
    pub chips: BTreeMap<String, Arc<Stage>>,
    /// The chip of requests that name none.
    pub default_chip: String,
    /// The last stage.
    pub postprocess: Arc<Stage>,
    /// The time of a whole request.
    pub deadline: Duration,
    /// The body that a new version must answer; `None` for the bundled one.
    pub sample: Option<Asset>,
    /// How a new version is put on trial; `None` where it serves at once.
    pub canary: Option<Canary>,
    /// Where inputs are recorded; `None` where they are not.
    pub recordings: Option<Arc<Recordings>>,
}

/// The stage that had no answer, and why.
#[derive(Debug)]
pub struct Failed<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// How it ended.
    pub error: StageError,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stage({} {})", self.name, self.plugin.name)
    }
}

impl Pipeline {
    /// The infer stage of a chip by name.
    pub fn chip(&self, name: &str) -> Option<&Stage> {
        self.chips.get(name).map(|stage| &**stage)
    }

    /// All stages, in the order of their work; infer stages with their chip.
    pub fn stages(&self) -> impl Iterator<Item = (Option<&str>, &Arc<Stage>)> {
        let chips = self.chips.iter().map(|(chip, stage)| (Some(chip.as_str()), stage));
        std::iter::once((None, &self.preprocess)).chain(chips).chain([(None, &self.postprocess)])
    }

    /// Takes a request from body to reply. `infer` is the stage of the chip that it was routed to.
    ///
    /// # Errors
    /// The stage that had no answer.
    pub async fn run<'a>(
        &'a self,
        infer: &'a Stage,
        trace: &mut Trace,
        request: &Request,
        body: &[u8],
    ) -> Result<Reply, Failed<'a>> {
        let failed = |stage| move |error| Failed { stage, error };
        let (inputs, context) =
            self.preprocess.preprocess(trace, request, body).await.map_err(failed(&self.preprocess))?;
        let outputs = infer.infer(trace, request, inputs).await.map_err(failed(infer))?;
        self.postprocess.postprocess(trace, request, outputs, &context).await.map_err(failed(&self.postprocess))
    }
    /// Runs one infer stage with the caller's own tensors.
    ///
    /// # Errors
    /// The stage had no answer.
    pub async fn run_infer<'a>(
        &'a self,
        infer: &'a Stage,
        trace: &mut Trace,
        request: &Request,
        inputs: Tensors,
    ) -> Result<Tensors, Failed<'a>> {
        infer.infer(trace, request, inputs).await.map_err(|error| Failed { stage: infer, error })
    }
}
