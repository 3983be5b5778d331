//! Runs the sample that every new version must answer before it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::pipeline::PipelineError;
use plimsoll_runtime::stage::{Request, RunLog, RunObserver, StageCore, StageError, StageReport};
use plimsoll_runtime::text::listed;

use super::served_pipeline::ServedPipeline;

/// A small JPEG, for pipelines that configure no sample.
pub const BUNDLED: &[u8] = include_bytes!("../../demo/sample.jpg");
/// Added to the pipeline's deadline, because the code runs for the first time, while the machine is compiling.
const SLACK: Duration = Duration::from_secs(5);
/// How often the sample is tried if the host has no room for an instance, and the pause after the first try; each further
/// pause is twice as long.
const MAX_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What is tried with samples.
#[derive(Debug, Clone, Copy)]
pub enum Tried<'a> {
    /// All plugins, on every chip.
    All,
    /// A version of a plugin that was admitted before, or that a configuration brings, on the chips with this plugin, or on the
    /// default chip if there are none.
    Admitted(&'a str),
    /// The same for a new version that was uploaded, or that is in the folder. On a chip with this plugin, the answer of its fallback is not enough.
    New(&'a str),
}

impl<'a> Tried<'a> {
    /// The plugin, if it is one.
    pub fn plugin(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Admitted(plugin) | Self::New(plugin) => Some(plugin),
        }
    }
}

/// The stage that failed the sample.
#[derive(Debug)]
pub struct SampleError {
    /// The stage in the configuration, for example `pipelines.digits.preprocess` or `pipelines.people.steps.crop`.
    pub key: String,
    /// The plugin of the stage.
    pub plugin: String,
    /// The reason, in one sentence.
    pub reason: String,
    /// True if the host had no room for an instance, or the device failed.
    pub is_temporary: bool,
}

/// Runs the sample through the pipeline, on the chips of what is tried. The configured sample must be answered. Preprocessing
/// may reject the bundled sample, because it may not read JPEG; no other stage may. A step that ran for items must have
/// answered one of them. What the sample did not reach is logged.
///
/// # Errors
/// If a stage fails.
pub async fn run_sample(pipeline: &ServedPipeline, tried: Tried<'_>) -> Result<(), SampleError> {
    let of_plugin: Vec<_> = match tried.plugin() {
        None => pipeline.chip_names().iter().collect(),
        Some(plugin) => pipeline.chips_of(plugin),
    };
    let must_run = matches!(tried, Tried::New(_)) && !of_plugin.is_empty();
    let chips = if of_plugin.is_empty() { vec![&pipeline.default_chip] } else { of_plugin };
    let mut untried = BTreeSet::new();
    for chip in chips {
        untried.extend(run_on_chip(pipeline, chip, must_run).await?);
    }
    for what in untried {
        tracing::warn!(
            "pipeline `{}`: {what}; set `pipelines.{}.sample` to a body that reaches every stage",
            pipeline.name,
            pipeline.name
        );
    }
    Ok(())
}

/// Runs the sample on a chip. Returns what it did not reach, if anything. `must_run`: an answer of the fallback is not enough.
async fn run_on_chip(pipeline: &ServedPipeline, chip: &str, must_run: bool) -> Result<Option<String>, SampleError> {
    let Some(selected) = pipeline.select(chip) else { return Ok(None) };
    let (sample, content_type) = match &pipeline.sample {
        Some(sample) => (sample.bytes(), None),
        None => (BUNDLED, Some("image/jpeg".to_owned())),
    };
    let request = Request { id: "sample".into(), content_type, parameters: Vec::new() };
    let mut tries = 0;
    let (result, log) = loop {
        let runs = RunLog::new(pipeline.deadline + SLACK);
        let mut log = SampleLog { runs, errors: BTreeMap::new(), fallback: None };
        let result = pipeline.run(selected, &mut log, &request, sample).await;
        let is_full = result.as_ref().is_err_and(|failed| failed.error.outcome == Outcome::NoCapacity);
        tries += 1;
        if !is_full || tries == MAX_TRIES {
            break (result, log);
        }
        tokio::time::sleep(FIRST_PAUSE * (1 << (tries - 1))).await;
    };
    if let (Ok(_), Some(fallback)) = (&result, &log.fallback) {
        let what = format!(
            "the device of chip `{chip}` failed or is out of service, so chip `{fallback}` answered the sample of pipeline `{}`, \
             and the infer stage on `{chip}` was not tried",
            pipeline.name
        );
        let stage = pipeline.chips.get(chip).filter(|_| must_run);
        let Some(stage) = stage.map(|stage| stage.core()) else {
            tracing::warn!("{what}");
            return Ok(None);
        };
        let (key, plugin) = (key(pipeline, stage), stage.plugin.name.to_string());
        let reason = format!("{what}; try again when the device is back");
        return Err(SampleError { key, plugin, reason, is_temporary: true });
    }
    match result {
        Ok(_) => log.judge_items(pipeline, chip),
        Err(PipelineError { stage, error, .. }) => {
            let text = described(&error);
            if pipeline.sample.is_none() && stage.kind == StageKind::Preprocess && is_refusal(error.outcome) {
                let (name, plugin) = (&stage.name, &stage.plugin.name);
                return Ok(Some(format!(
                    "{name} (plugin {plugin}) rejected the bundled sample, so no other stage was tried ({text})"
                )));
            }
            Err(failure(pipeline, chip, &stage, error.outcome, &format!("ended in {text}")))
        }
    }
}

/// What the sample did: its runs, the first error of each stage, and the chip that answered instead of its own.
struct SampleLog {
    runs: RunLog,
    errors: BTreeMap<StageName, (Outcome, String)>,
    fallback: Option<String>,
}

impl RunObserver for SampleLog {
    fn deadline(&self) -> Instant {
        self.runs.deadline()
    }

    fn chip_changed(&mut self, chip: &str) {
        self.fallback = Some(chip.to_owned());
    }

    fn stage_started(&mut self, stage: &StageCore) {
        self.runs.stage_started(stage);
    }

    fn stage_ended(&mut self, report: StageReport, error: Option<&StageError>) {
        if let Some(error) = error {
            self.errors.entry(report.stage.clone()).or_insert_with(|| (error.outcome, described(error)));
        }
        self.runs.stage_ended(report, error);
    }
}

impl SampleLog {
    /// Judges the steps of an answered sample. The pipeline may let items fail alone, so a step may have failed for all of
    /// them; and without items the steps that run for each item did not run.
    fn judge_items(&self, pipeline: &ServedPipeline, chip: &str) -> Result<Option<String>, SampleError> {
        let Some(graph) = &pipeline.steps else { return Ok(None) };
        let mut untried = Vec::new();
        for stage in graph.steps.iter().filter_map(|step| step.core(chip)) {
            let runs = || self.runs.reports().iter().filter(|report| report.stage == stage.name);
            match self.errors.get(&stage.name) {
                _ if runs().next().is_none() => untried.push(format!("`{}`", stage.name)),
                Some((outcome, text)) if runs().all(|report| report.outcome != Outcome::Ok) => {
                    let what = format!("failed for all {} items, the first one ended in {text}", runs().count());
                    return Err(failure(pipeline, chip, stage, *outcome, &what));
                }
                _ => {}
            }
        }
        let names = listed(untried.iter().map(String::as_str));
        Ok((!untried.is_empty()).then(|| format!("the sample made no items that reach {names}, so this was not tried")))
    }
}

/// The error of a stage, for one line. The first line of the detail is the cause of a trap; the rest is the backtrace, for
/// the log.
fn described(error: &StageError) -> String {
    let StageError { outcome, public, detail, .. } = error;
    let cause = detail.lines().next().filter(|line| !line.is_empty()).map(|line| format!(" ({line})"));
    format!("{}: {public}{}", outcome.as_str(), cause.unwrap_or_default())
}

/// The error of a stage that failed the sample.
fn failure(pipeline: &ServedPipeline, chip: &str, stage: &Arc<StageCore>, outcome: Outcome, what: &str) -> SampleError {
    let name = &pipeline.name;
    let hint = match pipeline.sample {
        None if is_refusal(outcome) => {
            format!("; the pipeline has no sample of its own: set `pipelines.{name}.sample` to a body that it answers")
        }
        _ => String::new(),
    };
    SampleError {
        key: key(pipeline, stage),
        plugin: stage.plugin.name.to_string(),
        is_temporary: matches!(outcome, Outcome::NoCapacity | Outcome::DeviceFailure),
        reason: format!(
            "the sample of pipeline `{name}` failed on chip `{chip}`: stage {} (plugin {}) {what}{hint}",
            stage.name, stage.plugin.name,
        ),
    }
}

/// A stage in the configuration.
fn key(pipeline: &ServedPipeline, stage: &Arc<StageCore>) -> String {
    let name = &pipeline.name;
    if pipeline.steps.is_some() {
        return format!("pipelines.{name}.steps.{}", stage.name);
    }
    // The fallback may have failed instead of the chip.
    match pipeline.chips.iter().find(|(_, known)| Arc::ptr_eq(known.core(), stage)) {
        Some((chip, _)) => format!("pipelines.{name}.chips.{chip}"),
        None => format!("pipelines.{name}.{}", stage.name),
    }
}

fn is_refusal(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::UnsupportedMediaType | Outcome::InvalidInput | Outcome::TooLarge)
}
