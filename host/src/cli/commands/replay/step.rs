//! `plimsoll replay --step NAME`: runs one step alone, on what the steps before it hand on for a recorded request.

use std::path::Path;

use plimsoll_runtime::pipeline::graph::Action;
use plimsoll_runtime::pipeline::{Graph, StepInput};
use plimsoll_runtime::stage::{Bundle, Request, RunLog, StageError};
use plimsoll_runtime::text::listed;

use super::{ReplayError, show_progress};
use crate::base::telemetry;
use crate::cli::output::out;
use crate::cli::table;
use crate::deploy::ServedPipeline;
use crate::records::recording::{Facts, store};
use crate::serve::App;

/// Runs the step for each recording, and prints a row for each of its runs. Returns a message for each recording that
/// cannot be run.
pub(super) async fn run(app: &App, dir: &Path, names: &[String], chip: Option<&String>, step: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (at, name) in names.iter().enumerate() {
        show_progress(at, names.len());
        match run_recording(app, dir, name, chip, step).await {
            Ok(of_recording) => rows.extend(of_recording),
            Err(error) => failures.push(format!("recording {name} cannot be run: {error}")),
        }
    }
    telemetry::clear_status();
    let header = ["recording", "step", "item", "plugin", "outcome", "input", "initial", "high water", "ms"];
    for line in table::lines(&header, &rows, 6) {
        out!("{line}");
    }
    failures
}

async fn run_recording(
    app: &App,
    dir: &Path,
    name: &str,
    chip: Option<&String>,
    step: &str,
) -> Result<Vec<Vec<String>>, ReplayError> {
    let (facts, body) = store::read(dir, name)?;
    let Facts { request, pipeline, chip: recorded, content_type, parameters, .. } = facts;
    let pipeline = app.pipeline(&pipeline)?;
    let chip = chip.unwrap_or(&recorded);
    pipeline.find_chip(chip)?;
    let Some(graph) = &pipeline.steps else { return Err(ReplayError::NoSteps { pipeline: pipeline.name.clone() }) };
    let first = pipeline.preprocess.name.as_str();
    let last = pipeline.postprocess.name.as_str();
    if ![first, last].contains(&step) && !graph.steps.iter().any(|known| known.name == step) {
        let steps: Vec<_> = graph.steps.iter().map(|step| step.name.as_str()).collect();
        let known = listed([&[first], &*steps, &[last]].concat().into_iter());
        return Err(ReplayError::NoStep { pipeline: pipeline.name.clone(), step: step.to_owned(), known });
    }
    let request = Request { id: request, content_type, parameters };
    let short = name.rsplit('-').next().unwrap_or(name);
    if step == first {
        let mut log = RunLog::new(pipeline.deadline);
        let error = pipeline.preprocess.run(&mut log, &request, &body).await.err();
        return Ok(vec![row(short, None, &format!("{} bytes", body.len()), &log, error.as_ref())]);
    }
    let mut before = RunLog::new(pipeline.deadline);
    let inputs = pipeline.step_inputs(graph, (chip, step), &mut before, &request, &body).await;
    let inputs = inputs.map_err(|failed| ReplayError::EarlierStep {
        step: failed.stage.name.to_string(),
        error: failed.error.to_string(),
    })?;
    let mut rows = Vec::new();
    for StepInput { item, input } in inputs {
        let mut log = RunLog::new(pipeline.deadline);
        let described = described(&input);
        let error = run_alone(&pipeline, graph, (chip, step), &mut log, &request, input).await.err();
        rows.push(row(short, item, &described, &log, error.as_ref()));
    }
    Ok(rows)
}

/// Runs a step, which is not preprocessing, on its input.
async fn run_alone(
    pipeline: &ServedPipeline,
    graph: &Graph,
    (chip, step): (&str, &str),
    log: &mut RunLog,
    request: &Request,
    input: Bundle,
) -> Result<(), StageError> {
    match graph.steps.iter().find(|known| known.name == step).map(|step| &step.action) {
        Some(Action::Infer(chips)) => match chips.of(chip) {
            Some(stage) => stage.run(log, request, input.tensors).await.map(|_| ()),
            None => Ok(()),
        },
        Some(Action::Transform { stage, items }) => {
            stage.run(log, request, input, items.map(|items| items.max)).await.map(|_| ())
        }
        None => pipeline.postprocess.run(log, request, input.tensors, &input.context).await.map(|_| ()),
    }
}

/// The tensors of an input.
fn described(input: &Bundle) -> String {
    let tensors: Vec<_> =
        input.tensors.iter().map(|(name, it)| format!("{name} {}{:?}", it.ty, it.dimensions)).collect();
    listed(tensors.iter().map(String::as_str))
}

fn row(recording: &str, item: Option<usize>, input: &str, log: &RunLog, error: Option<&StageError>) -> Vec<String> {
    let item = item.map_or_else(|| "-".to_owned(), |item| item.to_string());
    let Some(report) = log.reports().last() else { return vec!["-".to_owned(); 9] };
    let plugin = format!("{}@{}+{}", report.plugin, report.version, &report.digest[..12]);
    let outcome = error.map_or_else(|| report.outcome.as_str().to_owned(), ToString::to_string);
    let figures = [report.usage.initial.to_string(), report.usage.high_water.to_string()];
    let milliseconds = format!("{:.3}", report.duration.as_secs_f64() * 1e3);
    let texts = [recording.to_owned(), report.stage.to_string(), item, plugin, outcome, input.to_owned()];
    texts.into_iter().chain(figures).chain([milliseconds]).collect()
}
