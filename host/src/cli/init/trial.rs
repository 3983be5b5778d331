//! Runs the bundled sample through a pipeline of the new folder, without a port.

use std::path::{Path, PathBuf};
use std::time::Instant;

use plimsoll_runtime::stage::{Reply, Request, RunLog, RunObserver, StageCore, StageError, StageReport};
use plimsoll_runtime::tensor::Tensors;

use super::probe::Output;
use super::values::Values;
use crate::cli::source::ConfigSource;
use crate::deploy::sample;
use crate::serve::App;

/// What the bundled sample gave.
pub(in crate::cli) struct Trial {
    /// What the model returned.
    pub(in crate::cli) outputs: Tensors,
    /// The reply of the pipeline.
    pub(in crate::cli) reply: Reply,
}

impl Trial {
    /// Runs the bundled sample through the pipeline of this name.
    ///
    /// # Errors
    /// If the configuration cannot be served, or the sample is not answered.
    pub(in crate::cli) async fn run(config: &Path, data_dir: Option<PathBuf>, name: &str) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let source = ConfigSource::at(Some(config.to_owned()), data_dir);
        let config = source.load().map_err(|error| text(&error))?;
        let app = App::build(&config).await.map_err(|error| text(&error))?;
        let pipeline = app.pipeline(name).map_err(|error| text(&error))?;
        let infer = pipeline.find_chip(&pipeline.default_chip).map_err(|error| text(&error))?;
        let request = Request { id: "init".into(), content_type: Some("image/jpeg".into()), parameters: Vec::new() };
        let mut seen = Seen { log: RunLog::new(pipeline.deadline), outputs: Vec::new() };
        let reply = pipeline.run(infer, &mut seen, &request, sample::BUNDLED).await;
        let reply = reply.map_err(|failed| format!("plugin {}: {}", failed.stage.plugin.name, failed.error))?;
        Ok(Self { outputs: seen.outputs, reply })
    }

    /// Notes in outputs what their numbers look like.
    pub(in crate::cli) fn note_values(&self, outputs: &mut [Output]) {
        for output in outputs {
            if let Some((_, tensor)) = self.outputs.iter().find(|(name, _)| *name == output.name) {
                output.values = Values::of(tensor);
            }
        }
    }
}

/// A log of a run that keeps what the model returned.
struct Seen {
    log: RunLog,
    outputs: Tensors,
}

impl RunObserver for Seen {
    fn deadline(&self) -> Instant {
        self.log.deadline()
    }

    fn inferred(&mut self, outputs: &Tensors) {
        self.outputs.clone_from(outputs);
    }

    fn stage_started(&mut self, stage: &StageCore) {
        self.log.stage_started(stage);
    }

    fn stage_ended(&mut self, report: StageReport, error: Option<&StageError>) {
        self.log.stage_ended(report, error);
    }
}
