//! The record of one request: what each stage needed and how it ended. Dropping it is what reports it, so a
//! request that is cut off is counted and logged like any other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::deploy::canary::Arm;
use crate::memory::{Key, Recorder};
use crate::stage::cap::{Meter, Usage};
use crate::stage::{Outcome, Stage, StageError};

/// One request on its way through a pipeline.
pub struct Trace {
    /// The request's id.
    pub id: String,
    pipeline: String,
    chip: String,
    started: Instant,
    deadline: Instant,
    stages: Vec<StageReport>,
    outcome: Outcome,
    /// `None` for a sample, which is neither counted nor logged.
    recorder: Option<Arc<Recorder>>,
    /// The side of a trial that the request is on.
    arm: Option<Arc<Arm>>,
}

/// What one stage run needed and how it ended.
#[derive(Debug, Clone, Serialize)]
pub struct StageReport {
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
    /// SHA-256 of the plugin, hexadecimal.
    pub digest: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// From the store's making to its drop.
    #[serde(serialize_with = "as_seconds")]
    pub duration: Duration,
    /// The memory it needed.
    #[serde(flatten)]
    pub usage: Usage,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Trace {
    /// Begins the record of a request that must end within `time`.
    pub fn new(id: String, pipeline: &str, chip: &str, time: Duration, recorder: Arc<Recorder>) -> Self {
        let mut this = Self::unrecorded(pipeline, chip, time);
        this.id = id;
        this.recorder = Some(recorder);
        this
    }

    /// The record of a run that nobody asked for: it is kept to itself.
    pub fn unrecorded(pipeline: &str, chip: &str, time: Duration) -> Self {
        let started = Instant::now();
        Self {
            id: String::new(),
            pipeline: pipeline.to_owned(),
            chip: chip.to_owned(),
            started,
            deadline: started + time,
            stages: Vec::with_capacity(3),
            outcome: Outcome::Cancelled,
            recorder: None,
            arm: None,
        }
    }

    /// Counts the request on a side of a trial, too.
    pub fn of_trial(&mut self, arm: Arc<Arm>) {
        self.arm = Some(arm);
    }

    /// The instant at which the whole request must have ended.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The stages so far.
    pub fn stages(&self) -> &[StageReport] {
        &self.stages
    }

    /// Sets how the request ended; without this it counts as cancelled.
    pub fn finish(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Begins a stage; the guard's drop reports it.
    pub(crate) fn enter<'a>(&'a mut self, stage: &'a Stage, meter: Arc<Meter>, started: Instant) -> StageGuard<'a> {
        StageGuard { trace: self, stage, meter, started, outcome: Outcome::Cancelled }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let Self { id, pipeline, chip, started, stages, outcome, recorder, arm, deadline: _ } = self;
        if let Some(arm) = arm {
            arm.request();
        }
        let Some(recorder) = recorder else { return };
        let duration = started.elapsed();
        recorder.request(pipeline, chip, *outcome, duration);
        let mark =
            |stage: &str| stages.iter().find(|report| report.stage == stage).map(|report| report.usage.high_water);
        tracing::info!(
            target: "plimsoll::request",
            request = %id, %pipeline, %chip,
            outcome = outcome.as_str(),
            duration_ms = duration.as_secs_f64() * 1e3,
            preprocess_bytes = mark("preprocess"),
            infer_bytes = mark("infer"),
            postprocess_bytes = mark("postprocess"),
            "request"
        );
    }
}

/// One stage run inside a request.
pub(crate) struct StageGuard<'a> {
    trace: &'a mut Trace,
    stage: &'a Stage,
    meter: Arc<Meter>,
    started: Instant,
    outcome: Outcome,
}

impl StageGuard<'_> {
    /// Ends the stage with an answer (`None`) or with an error, which is logged whole.
    pub(crate) fn finish(mut self, error: Option<&StageError>) {
        self.outcome = error.map_or(Outcome::Ok, |error| error.outcome);
        let told = error.filter(|error| !error.detail.is_empty() && self.trace.recorder.is_some());
        if let Some(error) = told {
            tracing::warn!(
                target: "plimsoll::stage",
                request = %self.trace.id,
                stage = self.stage.name,
                plugin = %self.stage.plugin.name,
                outcome = error.outcome.as_str(),
                "{}: {}", error.public, error.detail
            );
        }
    }
}

impl Drop for StageGuard<'_> {
    fn drop(&mut self) {
        let Self { trace, stage, meter, started, outcome } = self;
        let report = StageReport {
            stage: stage.name,
            plugin: Arc::clone(&stage.plugin.name),
            version: Arc::clone(&stage.plugin.version),
            digest: Arc::clone(&stage.plugin.digest),
            outcome: *outcome,
            duration: started.elapsed(),
            usage: meter.usage(),
        };
        if let Some(arm) = &trace.arm {
            arm.stage(&report.plugin, *outcome, report.usage.high_water);
        }
        let Some(recorder) = &trace.recorder else {
            trace.stages.push(report);
            return;
        };
        let key = Key {
            pipeline: trace.pipeline.clone(),
            stage: stage.name,
            plugin: Arc::clone(&report.plugin),
            version: Arc::clone(&report.version),
            digest: Arc::clone(&report.digest),
            chip: trace.chip.clone(),
            outcome: *outcome,
        };
        recorder.stage(key, &report);
        trace.stages.push(report);
    }
}
