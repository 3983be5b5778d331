//! `plimsoll check`.

mod graph;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::object::Object;
use crate::cli::error::Error;
use crate::cli::merged_report::merge;
use crate::cli::output::out;
use crate::cli::source::ConfigSource;
use crate::cli::table;
use crate::records::memory::advice::Advice;
use crate::serve::App;
use crate::serve::keys::Keys;
use crate::serve::tls::Tls;

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    source: ConfigSource,
    /// A saved body of `GET /v1/memory`: print the `max_memory` that it recommends for each stage. Repeat the option for
    /// the reports of several servers, saved with `?marks=true`: their runs are added up.
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Print the graphs of the pipelines with steps in the language of Graphviz, and nothing else.
    #[arg(long, conflicts_with = "report")]
    dot: bool,
}

/// The part of a saved report that contains the advice.
#[derive(Deserialize)]
struct Saved {
    advice: Vec<Object<Advice>>,
}

impl Check {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let saved = (!self.report.is_empty()).then(|| read_all(&self.report)).transpose()?;
        let config = self.source.load()?;
        // A server reads these before it builds anything.
        Tls::configured(&config)?;
        Keys::configured(&config)?;
        let app = App::build(&config).await?;
        if self.dot {
            for route in app.served().load().routes.values().filter(|route| route.stable.steps.is_some()) {
                graph::dot(&route.stable).iter().for_each(|line| out!("{line}"));
            }
            return Ok(ExitCode::SUCCESS);
        }
        for route in app.served().load().routes.values() {
            let pipeline = &route.stable;
            out!(
                "pipeline {}: default chip {}, deadline {:?}",
                pipeline.name,
                pipeline.default_chip,
                pipeline.deadline
            );
            for (_, stage) in pipeline.stages().filter(|_| pipeline.steps.is_none()) {
                out!(
                    "  {:<12} {} {} (max_memory {}, deadline {:?})",
                    stage.kind,
                    stage.plugin.name,
                    stage.plugin.version,
                    bytesize::ByteSize::b(stage.limits.max_memory),
                    stage.limits.deadline
                );
            }
            for line in graph::text(pipeline) {
                out!("{line}");
            }
            for shadow in &pipeline.shadows {
                let runs =
                    if pipeline.steps.is_some() { format!("runs of {}", shadow.stage) } else { "requests".into() };
                out!("  shadow: chip {}, {} % of the {runs}", shadow.chip, shadow.share * 100.0);
            }
        }
        for row in app.records.metrics.model_memory().rows() {
            let size = bytesize::ByteSize::b(row.bytes);
            out!("model {}: {size} on {} ({})", row.model, row.target, row.source);
        }
        if let Some(saved) = saved {
            print(saved, &app);
        }
        out!("{} can be served", config.path.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads reports, and adds them up if there are several.
fn read_all(paths: &[PathBuf]) -> Result<Saved, Error> {
    if let [path] = paths {
        return read(path);
    }
    let reports = paths.iter().map(|path| read::<serde_json::Value>(path)).collect::<Result<Vec<_>, _>>()?;
    let merged = merge(reports).map_err(|error| Error::Failed(error.to_string()))?;
    serde_json::from_value(merged).map_err(|error| Error::Failed(format!("these are no memory reports: {error}")))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let failed = |what: String| Error::Failed(format!("{} {what}", path.display()));
    let text = std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&text).map(|Object(saved)| saved).map_err(|error| {
        failed(format!("is not a memory report: {error}; save one with `curl -o FILE http://HOST:PORT/v1/memory`"))
    })
}

/// Prints the advice. Each stage is checked against its cap in this configuration. If the configuration does not have
/// the stage, it is checked against the cap in the report.
fn print(saved: Saved, app: &App) {
    if saved.advice.is_empty() {
        out!("\nthe report contains no stage runs, so there is no advice");
        return;
    }
    let judged: Vec<_> = saved
        .advice
        .into_iter()
        .map(|Object(advice)| {
            let cap = cap(app, &advice).unwrap_or(advice.max_memory);
            advice.judged(cap)
        })
        .collect();
    let row = |advice: &Advice| {
        let plugin = format!("{}@{}", advice.plugin, advice.version);
        let numbers = [advice.runs, advice.p999, advice.max, advice.max_memory, advice.recommended];
        [advice.key(), plugin].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    };
    let header = ["stage", "plugin", "runs", "p99.9", "max", "max_memory", "recommended"];
    out!();
    for line in table::lines(&header, &judged.iter().map(row).collect::<Vec<_>>(), 2) {
        out!("{line}");
    }
    for advice in &judged {
        if let Some(warning) = &advice.warning {
            out!("warning: {}: {warning}", advice.key());
        }
    }
    out!();
}

fn cap(app: &App, advice: &Advice) -> Option<u64> {
    let pipeline = app.pipeline(&advice.pipeline).ok()?;
    let mut stages = pipeline.stages();
    let found = stages.find(|(chip, stage)| {
        stage.name.as_str() == advice.stage && (*chip == advice.chip.as_deref() || (advice.is_step && chip.is_none()))
    });
    found.map(|(_, stage)| stage.limits.max_memory)
}
