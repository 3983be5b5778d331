//! `plimsoll replay --chip a --chip b`: compares chips by recorded inputs, as a shadow chip is compared while a server runs.

use std::path::Path;

use plimsoll_runtime::comparison::{Comparison, Figures};
use plimsoll_runtime::stage::{Request, RunLog, StageError};
use plimsoll_runtime::tensor::Tensors;

use super::{ReplayError, show_progress};
use crate::base::telemetry;
use crate::cli::output::out;
use crate::cli::table;
use crate::deploy::ServedPipeline;
use crate::records::recording::{Facts, store};
use crate::records::shadow::report::{OutputReport, PairReport};
use crate::records::shadow::{ChipPair, Skipped, Times};
use crate::serve::App;

/// Runs the recordings on the first chip, and the infer stages of the other chips with the same tensors. Prints the
/// differences of each recording, then those of each output. Returns a message for each recording that cannot be run.
pub(super) async fn compare(app: &App, dir: &Path, names: &[String], chips: &[String]) -> Vec<String> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (at, name) in names.iter().enumerate() {
        show_progress(at, names.len());
        match compare_recording(app, dir, name, chips).await {
            Ok(of_recording) => rows.extend(of_recording),
            Err(error) => failures.push(format!("recording {name} cannot be run: {error}")),
        }
    }
    let figures = ["absolute", "relative", "cosine distance", "top-1", "top-5"];
    print(["recording", "chip", "compared with", "result"], figures, &rows, 4);
    let pairs = app.records.shadows.report(None);
    let outputs: Vec<_> =
        pairs.iter().flat_map(|pair| pair.outputs.iter().map(|output| of_output(pair, output))).collect();
    out!();
    print(["pipeline", "chip", "compared with", "output", "comparisons"], figures, &outputs, 4);
    for pair in &pairs {
        let PairReport { pipeline, chip, shadow, compared, mismatched, failed, skipped, .. } = pair;
        let others = [("not comparable", mismatched), ("failed", failed), ("skipped", skipped)];
        let others = others.iter().flat_map(|(what, counts)| counts.iter().map(move |(why, count)| (what, why, count)));
        let others: String = others.map(|(what, why, count)| format!(", {count} {what} ({why})")).collect();
        out!("\npipeline {pipeline}, chip {chip} compared with {shadow}: {compared} compared{others}");
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

/// Returns a row for each chip that is compared with the first one.
async fn compare_recording(
    app: &App,
    dir: &Path,
    name: &str,
    chips: &[String],
) -> Result<Vec<Vec<String>>, ReplayError> {
    let (facts, body) = store::read(dir, name)?;
    let Facts { request, pipeline, content_type, parameters, .. } = facts;
    let pipeline = app.pipeline(&pipeline)?;
    for chip in chips {
        pipeline.find_infer(chip)?;
    }
    let request = Request { id: request, content_type, parameters };
    let Some((first, others)) = chips.split_first() else { return Ok(Vec::new()) };
    let mut log = RunLog::new(pipeline.deadline);
    let prepared = pipeline.preprocess.run(&mut log, &request, &body).await;
    let answered = match prepared {
        Ok((inputs, _context)) => infer(&pipeline, first, &request, inputs.clone()).await?.map(|it| (inputs, it)),
        Err(error) => Err(error),
    };
    let mut rows = Vec::new();
    for other in others {
        let pair = ChipPair {
            pipeline: pipeline.name.clone(),
            version: pipeline.version.clone(),
            chip: first.clone(),
            shadow: other.clone(),
        };
        let (result, figures) = match &answered {
            Err(error) => {
                app.records.shadows.skip(&pair, Skipped::NoAnswer);
                (format!("{first}: {error}"), None)
            }
            Ok((inputs, (outputs, time))) => match infer(&pipeline, other, &request, inputs.clone()).await? {
                Err(error) => {
                    app.records.shadows.fail(&pair, error.outcome);
                    (format!("{other}: {error}"), None)
                }
                Ok((answer, shadow)) => {
                    let comparison = Comparison::new(outputs, &answer);
                    app.records.shadows.compare(&pair, name, &comparison, Times { chip: *time, shadow });
                    let result = comparison.mismatch().map_or_else(
                        || "compared".to_owned(),
                        |(output, mismatch)| format!("{} differs: output {output}", mismatch.as_str()),
                    );
                    (result, comparison.largest())
                }
            },
        };
        let short = name.rsplit('-').next().unwrap_or(name);
        let texts = [short.to_owned(), first.clone(), other.clone(), result];
        rows.push(texts.into_iter().chain(numbers(figures)).collect());
    }
    Ok(rows)
}

/// The outputs of a chip, and how long it took.
type Answer = (Tensors, std::time::Duration);

/// Runs the infer stage of a chip, and not its fallback.
async fn infer(
    pipeline: &ServedPipeline,
    chip: &str,
    request: &Request,
    inputs: Tensors,
) -> Result<Result<Answer, StageError>, ReplayError> {
    let mut log = RunLog::new(pipeline.deadline);
    let outputs = pipeline.find_infer(chip)?.run(&mut log, request, inputs).await;
    let time = log.reports().last().map_or_else(Default::default, |report| report.duration);
    Ok(outputs.map(|outputs| (outputs, time)))
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
    let texts = [pair.pipeline.clone(), pair.chip.clone(), pair.shadow.clone(), name.clone(), compared.to_string()];
    let differences = [absolute.max, relative.max, cosine_distance.max].map(difference);
    let agreements = [scores.and_then(|it| it.top1_agreement), scores.and_then(|it| it.top5_agreement)].map(agreement);
    texts.into_iter().chain(differences).chain(agreements).collect()
}

fn difference(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.2e}") }
}

fn agreement(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}
