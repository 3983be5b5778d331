//! A pipeline: preprocess → infer on a chip → postprocess.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stage::bindings::{Reply, Request};
use crate::stage::{Stage, StageError};
use crate::trace::Trace;

/// A named list of stages that is ready to run.
pub struct Pipeline {
    /// As the configuration and the URL name it.
    pub name: String,
    /// The first stage.
    pub preprocess: Stage,
    /// The infer stage of each chip.
    pub chips: BTreeMap<String, Stage>,
    /// The chip of requests that name none.
    pub default_chip: String,
    /// The last stage.
    pub postprocess: Stage,
    /// The time of a whole request.
    pub deadline: Duration,
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
        self.chips.get(name)
    }

    /// All stages, in the order of their work.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        std::iter::once(&self.preprocess).chain(self.chips.values()).chain([&self.postprocess])
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
}
