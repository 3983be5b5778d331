//! `plimsoll infer`: one request without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::Request;

use crate::cli::error::Error;
use crate::cli::output::{self, out};
use crate::cli::source::ConfigSource;
use crate::records::request_summary::merged;
use crate::records::{RequestRecord, RequestStart};
use crate::serve::App;

#[derive(Debug, Args)]
pub(in crate::cli) struct Infer {
    /// The pipeline's name, for example `digits`.
    pipeline: String,
    /// The image file to send.
    image: PathBuf,
    /// The chip; default the pipeline's default chip.
    #[arg(long)]
    chip: Option<String>,
    #[command(flatten)]
    source: ConfigSource,
}

impl Infer {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let failed = |text: String| Error::Failed(text);
        let body = std::fs::read(&self.image)
            .map_err(|error| failed(format!("{} cannot be read: {error}", self.image.display())))?;
        let app = App::build(&self.source.load()?).await?;
        let pipeline = app.pipeline(&self.pipeline).map_err(|error| failed(error.to_string()))?;
        let chip = self.chip.as_deref().unwrap_or(&pipeline.default_chip);
        let infer = pipeline.find_chip(chip).map_err(|error| failed(error.to_string()))?;
        let id = uuid::Uuid::now_v7().to_string();
        let request = Request { id: id.clone(), content_type: None, parameters: Vec::new() };
        let start = RequestStart {
            id,
            pipeline: &pipeline.name,
            chip,
            deadline: pipeline.deadline,
            model: None,
            canary_side: None,
            caller: None,
            origin: None,
            headers: None,
        };
        let mut record = RequestRecord::start(start, &app.records);
        let result = pipeline.run(infer, &mut record, &request, &body).await;
        record.finish(result.as_ref().map_or_else(|failed| failed.error.outcome, |_| Outcome::Ok));

        if let Ok(reply) = &result {
            output::write(&reply.body);
            out!();
        }
        let header = ["stage", "plugin", "outcome", "initial", "high water", "ms"];
        let [a, b, c, d, e, f] = header;
        out!("\n{a:<12} {b:<22} {c:<16} {d:>12} {e:>12} {f:>9}");
        for stage in merged(record.stages()) {
            out!(
                "{:<12} {:<22} {:<16} {:>12} {:>12} {:>9.3}",
                stage.stage,
                stage.plugin,
                stage.outcome.as_str(),
                stage.usage.initial,
                stage.usage.high_water,
                stage.duration.as_secs_f64() * 1e3
            );
        }
        result.map(|_| ExitCode::SUCCESS).map_err(|failed| {
            Error::Failed(format!(
                "stage {} (plugin {}) ended in {}",
                failed.stage.name, failed.stage.plugin.name, failed.error
            ))
        })
    }
}
