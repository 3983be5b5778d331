//! `plimsoll infer`: one request without a server.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Error, Source};
use crate::app::App;
use crate::stage::Outcome;
use crate::stage::bindings::Request;
use crate::trace::Trace;

#[derive(Debug, Args)]
pub(super) struct Infer {
    /// The pipeline's name, for example `digits`.
    pipeline: String,
    /// The image file to send.
    image: PathBuf,
    /// The chip; default the pipeline's.
    #[arg(long)]
    chip: Option<String>,
    #[command(flatten)]
    source: Source,
}

impl Infer {
    pub(super) async fn run(self) -> Result<(), Error> {
        let failed = |text: String| Error::Failed(text);
        let body = std::fs::read(&self.image)
            .map_err(|error| failed(format!("{} cannot be read: {error}", self.image.display())))?;
        let app = App::build(&self.source.load()?).await?;
        let pipeline = app.pipeline(&self.pipeline).ok_or_else(|| {
            let known = app.pipeline_names().join(", ");
            failed(format!("there is no pipeline `{}`; the configuration has {known}", self.pipeline))
        })?;
        let chip = self.chip.as_deref().unwrap_or(&pipeline.default_chip);
        let infer = pipeline.chip(chip).ok_or_else(|| {
            let known: Vec<_> = pipeline.chips.keys().map(String::as_str).collect();
            failed(format!("pipeline `{}` has no chip `{chip}`; it has {}", self.pipeline, known.join(", ")))
        })?;
        let id = uuid::Uuid::now_v7().to_string();
        let request = Request { id: id.clone(), content_type: None, parameters: Vec::new() };
        let mut trace = Trace::new(id, &pipeline.name, chip, pipeline.deadline, Arc::clone(&app.recorder));
        let result = pipeline.run(infer, &mut trace, &request, &body).await;
        trace.finish(result.as_ref().map_or_else(|failed| failed.error.outcome, |_| Outcome::Ok));

        let mut out = std::io::stdout().lock();
        let write = |error: std::io::Error| Error::Failed(format!("stdout: {error}"));
        if let Ok(reply) = &result {
            out.write_all(&reply.body).map_err(write)?;
            writeln!(out).map_err(write)?;
        }
        let header = ["stage", "plugin", "outcome", "initial", "high water", "ms"];
        let [a, b, c, d, e, f] = header;
        writeln!(out, "\n{a:<12} {b:<22} {c:<16} {d:>12} {e:>12} {f:>9}").map_err(write)?;
        for stage in trace.stages() {
            writeln!(
                out,
                "{:<12} {:<22} {:<16} {:>12} {:>12} {:>9.3}",
                stage.stage,
                stage.plugin,
                stage.outcome.as_str(),
                stage.usage.initial,
                stage.usage.high_water,
                stage.duration.as_secs_f64() * 1e3
            )
            .map_err(write)?;
        }
        result.map(|_| ()).map_err(|failed| {
            Error::Failed(format!(
                "stage {} (plugin {}) ended in {}",
                failed.stage.name, failed.stage.plugin.name, failed.error
            ))
        })
    }
}
