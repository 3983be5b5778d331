//! `plimsoll replay --chip a --chip b`: compares chips by recorded inputs, as a shadow chip is compared while a server runs.
//! In a pipeline of steps, each step that has chips is compared, on what the steps before it hand on.

use std::path::Path;

use plimsoll_runtime::comparison::{Comparison, Figures};
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::pipeline::StepInput;
use plimsoll_runtime::pipeline::graph::{Action, InferChips, Step};
use plimsoll_runtime::stage::{Request, RunLog, StageError};
use plimsoll_runtime::tensor::Tensors;
use plimsoll_runtime::text::listed;

use super::{ReplayError, show_progress};
use crate::base::telemetry;
use crate::cli::output::out;
use crate::cli::table;
use crate::deploy::ServedPipeline;
use crate::records::recording::{Facts, store};
use crate::records::shadow::report::{OutputReport, PairReport};
use crate::records::shadow::{ChipPair, ComparedRun, Skipped, Times};
use crate::serve::App;

/// Runs the recordings on the first chip, and the infer stages of the other chips with the same tensors; only a step, if one is
/// given. Prints the differences of each recording, then those of each output. Returns a message for each recording that cannot
/// be run.
pub(super) async fn compare(
    app: &App,
    dir: &Path,
    names: &[String],
    (chips, step): (&[String], Option<&String>),
) -> Vec<String> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (at, name) in names.iter().enumerate() {
        show_progress(at, names.len());
        match compare_recording(app, dir, name, (chips, step)).await {
            Ok(of_recording) => rows.extend(of_recording),
            Err(error) => failures.push(format!("recording {name} cannot be run: {error}")),
        }
    }
    let figures = ["absolute", "relative", "cosine distance", "top-1", "top-5"];
    print(["recording", "stage", "item", "chip", "compared with", "result"], figures, &rows, 6);
    let pairs = app.records.shadows.report(None);
    let outputs: Vec<_> =
        pairs.iter().flat_map(|pair| pair.outputs.iter().map(|output| of_output(pair, output))).collect();
    out!();
    print(["pipeline", "stage", "chip", "compared with", "output", "comparisons"], figures, &outputs, 5);
    for pair in &pairs {
        let PairReport { pipeline, stage, chip, shadow, compared, mismatched, failed, skipped, .. } = pair;
        let others = [("not comparable", mismatched), ("failed", failed), ("skipped", skipped)];
        let others = others.iter().flat_map(|(what, counts)| counts.iter().map(move |(why, count)| (what, why, count)));
        let others: String = others.map(|(what, why, count)| format!(", {count} {what} ({why})")).collect();
        out!("\npipeline {pipeline}, stage {stage}, chip {chip} compared with {shadow}: {compared} compared{others}");
    }
    failures
}

fn print<const N: usize>(first: [&str; N], figures: [&str; 5], rows: &[Vec<String>], texts: usize) {
    telemetry::clear_status();
    let header: Vec<_> = first.into_iter().chain(figures).collect();
    for line in table::lines(&header, rows, texts) {
        out!("{line}");
    }
}

/// Returns a row for each chip that is compared with the first one, for each run of an infer stage.
async fn compare_recording(
    app: &App,
    dir: &Path,
    name: &str,
    (chips, only): (&[String], Option<&String>),
) -> Result<Vec<Vec<String>>, ReplayError> {
    let (facts, body) = store::read(dir, name)?;
    let Facts { request, pipeline, content_type, parameters, .. } = facts;
    let pipeline = app.pipeline(&pipeline)?;
    for chip in chips {
        pipeline.find_chip(chip)?;
    }
    let request = Request { id: request, content_type, parameters };
    let Some((first, others)) = chips.split_first() else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for stage in compared_stages(&pipeline, only)? {
        let runs = inputs(&pipeline, (first, &stage), &request, &body).await;
        let runs = runs.unwrap_or_else(|error| vec![(None, Err(error))]);
        for (item, inputs) in runs {
            let answered = match inputs {
                Ok(inputs) => infer(&pipeline, (&stage, first), &request, inputs.clone()).await?.map(|it| (inputs, it)),
                Err(error) => Err(error),
            };
            for other in others {
                let pair = ChipPair {
                    pipeline: pipeline.name.clone(),
                    version: pipeline.version.clone(),
                    stage: stage.clone(),
                    chip: first.clone(),
                    shadow: other.clone(),
                };
                let run = ComparedRun { request: name, item };
                let (result, figures) = match &answered {
                    Err(error) => {
                        app.records.shadows.skip(&pair, Skipped::NoAnswer);
                        (format!("{first}: {error}"), None)
                    }
                    Ok((inputs, answer)) => {
                        let other = infer(&pipeline, (&stage, other), &request, inputs.clone()).await?;
                        compared(app, &pair, run, answer, other)
                    }
                };
                let short = name.rsplit('-').next().unwrap_or(name).to_owned();
                let item = item.map_or_else(|| "-".to_owned(), |item| item.to_string());
                let texts = [short, stage.clone(), item, first.clone(), other.clone(), result];
                rows.push(texts.into_iter().chain(numbers(figures)).collect());
            }
        }
    }
    Ok(rows)
}

/// The infer stages of a pipeline that differ between its chips, by their names in reports.
fn compared_stages(pipeline: &ServedPipeline, only: Option<&String>) -> Result<Vec<String>, ReplayError> {
    let Some(graph) = &pipeline.steps else {
        return match only {
            None => Ok(vec![StageKind::Infer.as_str().to_owned()]),
            Some(_) => Err(ReplayError::NoSteps { pipeline: pipeline.name.clone() }),
        };
    };
    let has_chips = |step: &&Step| matches!(step.action, Action::Infer(InferChips::Each(_)));
    let steps: Vec<_> = graph.steps.iter().filter(has_chips).map(|step| step.name.clone()).collect();
    match only {
        None => Ok(steps),
        Some(step) if steps.contains(step) => Ok(vec![step.clone()]),
        Some(step) => Err(ReplayError::NoChips {
            pipeline: pipeline.name.clone(),
            step: step.clone(),
            known: if steps.is_empty() { "none".to_owned() } else { listed(steps.iter().map(String::as_str)) },
        }),
    }
}

/// A run of a stage: its item, from 0, and what it takes.
type Input = (Option<usize>, Result<Tensors, StageError>);

/// What an infer stage takes: once, or for each item.
///
/// # Errors
/// An earlier stage failed.
async fn inputs(
    pipeline: &ServedPipeline,
    (chip, stage): (&str, &str),
    request: &Request,
    body: &[u8],
) -> Result<Vec<Input>, StageError> {
    let mut log = RunLog::new(pipeline.deadline);
    match &pipeline.steps {
        None => {
            let (inputs, _context) = pipeline.preprocess.run(&mut log, request, body).await?;
            Ok(vec![(None, Ok(inputs))])
        }
        Some(graph) => {
            let inputs = pipeline.step_inputs(graph, (chip, stage), &mut log, request, body).await;
            let inputs = inputs.map_err(|failed| failed.error)?.into_iter();
            Ok(inputs.map(|StepInput { item, input }| (item, Ok(input.tensors))).collect())
        }
    }
}

/// The outputs of a chip, and how long it took.
type Answer = (Tensors, std::time::Duration);

/// Runs an infer stage on a chip, and not on the fallback.
async fn infer(
    pipeline: &ServedPipeline,
    (stage, chip): (&str, &str),
    request: &Request,
    inputs: Tensors,
) -> Result<Result<Answer, StageError>, ReplayError> {
    let mut log = RunLog::new(pipeline.deadline);
    let infer = match &pipeline.steps {
        None => pipeline.find_infer(chip)?,
        Some(_) => pipeline.find_step(stage, chip)?,
    };
    let outputs = infer.run(&mut log, request, inputs).await;
    let time = log.reports().last().map_or_else(Default::default, |report| report.duration);
    Ok(outputs.map(|outputs| (outputs, time)))
}

/// Counts how the answer of another chip differs. Returns the result as text, and the differences.
fn compared(
    app: &App,
    pair: &ChipPair,
    run: ComparedRun<'_>,
    (outputs, time): &Answer,
    other: Result<Answer, StageError>,
) -> (String, Option<Figures>) {
    match other {
        Err(error) => {
            app.records.shadows.fail(pair, error.outcome);
            (format!("{}: {error}", pair.shadow), None)
        }
        Ok((answer, shadow)) => {
            let comparison = Comparison::new(outputs, &answer);
            app.records.shadows.compare(pair, run, &comparison, Times { chip: *time, shadow });
            let result = comparison.mismatch().map_or_else(
                || "compared".to_owned(),
                |(output, mismatch)| format!("{} differs: output {output}", mismatch.as_str()),
            );
            (result, comparison.largest())
        }
    }
}

fn numbers(figures: Option<Figures>) -> [String; 5] {
    let absent = || "-".to_owned();
    let Some(Figures { absolute, relative, cosine_distance, scores, .. }) = figures else {
        return std::array::from_fn(|_| absent());
    };
    let share = |count: u64, rows: u64| agreement((rows > 0).then(|| count as f64 / rows as f64));
    let [top1, top5] = match scores {
        Some(scores) => [share(scores.top1, scores.rows), share(scores.top5, scores.wide)],
        None => [absent(), absent()],
    };
    [difference(absolute), difference(relative), difference(cosine_distance), top1, top5]
}

fn of_output(pair: &PairReport, output: &OutputReport) -> Vec<String> {
    let OutputReport { name, compared, absolute, relative, cosine_distance, scores } = output;
    let PairReport { pipeline, stage, chip, shadow, .. } = pair;
    let texts = [pipeline, stage, chip, shadow, name].map(String::clone).into_iter().chain([compared.to_string()]);
    let differences = [absolute.max, relative.max, cosine_distance.max].map(difference);
    let agreements = [scores.and_then(|it| it.top1_agreement), scores.and_then(|it| it.top5_agreement)].map(agreement);
    texts.chain(differences).chain(agreements).collect()
}

fn difference(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.2e}") }
}

fn agreement(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}
