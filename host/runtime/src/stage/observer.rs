//! The interface that every stage run reports to. The runtime knows nothing about reports and metrics: the code that
//! runs a stage passes an observer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::core::StageCore;
use super::error::StageError;
use crate::cap::{BatchWait, Meter, RequestMemory, Usage};
use crate::kind::{StageKind, StageName};
use crate::outcome::Outcome;
use crate::scheduling::Priority;
use crate::tensor::Tensors;

/// Observes the stage runs of one request.
pub trait RunObserver: Send {
    /// The deadline of the whole request.
    fn deadline(&self) -> Instant;

    /// How urgent the runs are.
    fn priority(&self) -> Priority {
        Priority::Normal
    }

    /// The limit of the memory of the whole request; `None` if only its stages have limits.
    fn memory(&self) -> Option<&Arc<RequestMemory>> {
        None
    }

    /// An infer stage is about to run on these inputs: that of a pipeline, or of a step. `item` is the item, from 0, if the
    /// step runs for each item.
    fn inferring(&mut self, stage: &StageCore, item: Option<usize>, inputs: &Tensors) {
        let _ = (stage, item, inputs);
    }

    /// The infer stage that began last answered with these outputs, on the fallback if that was needed.
    fn inferred(&mut self, outputs: &Tensors) {
        let _ = outputs;
    }

    /// The request continues on another chip, because the device of the chip that it was routed to failed.
    fn chip_changed(&mut self, chip: &str) {
        let _ = chip;
    }

    /// An observer of runs at the same time as this one's. `None` if it cannot observe such runs, so that all runs are one
    /// after the other.
    fn fork(&mut self) -> Option<Box<dyn RunObserver>> {
        None
    }

    /// The runs of all forks have ended.
    fn joined(&mut self) {}

    /// True if what the plugin prints in a run of this stage that begins now is logged.
    fn logs_output(&self, stage: &StageCore) -> bool {
        let _ = stage;
        true
    }

    /// A stage run begins.
    fn stage_started(&mut self, stage: &StageCore);

    /// The stage run that began last has ended. Called on every path, also if the run was cancelled; `error` is `None` if
    /// the stage answered or was cancelled.
    fn stage_ended(&mut self, report: StageReport, error: Option<&StageError>);
}

/// The memory that one stage run needed, and how it ended.
#[derive(Debug, Clone, Serialize)]
pub struct StageReport {
    /// The stage.
    pub stage: StageName,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
    /// SHA-256 of the plugin, hexadecimal.
    pub digest: Arc<str>,
    /// How the run ended.
    pub outcome: Outcome,
    /// From the creation of the store to its drop, in seconds.
    #[serde(serialize_with = "as_seconds")]
    pub duration: Duration,
    /// The memory of the run.
    #[serde(flatten)]
    pub usage: Usage,
    /// When the run began.
    #[serde(skip)]
    pub started: Instant,
    /// The cap of the stage, in bytes.
    #[serde(skip)]
    pub max_memory: u64,
    /// The batches of its model that it waited for; the first ones, if there were many.
    #[serde(skip)]
    pub batches: Vec<BatchWait>,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// The simplest observer: it keeps the report of every run.
#[derive(Debug)]
pub struct RunLog {
    deadline: Instant,
    reports: Vec<StageReport>,
}

impl RunLog {
    /// The log of a request that must end within `time`.
    pub fn new(time: Duration) -> Self {
        Self { deadline: Instant::now() + time, reports: Vec::with_capacity(StageKind::STAGES.len()) }
    }

    /// The reports so far.
    pub fn reports(&self) -> &[StageReport] {
        &self.reports
    }
}

impl RunObserver for RunLog {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn stage_started(&mut self, _stage: &StageCore) {}

    fn stage_ended(&mut self, report: StageReport, _error: Option<&StageError>) {
        self.reports.push(report);
    }
}

/// Reports one stage run to its observer, on every path. If it is dropped before [`RunGuard::finish`], the run was
/// cancelled.
pub(super) struct RunGuard<'a> {
    observer: &'a mut dyn RunObserver,
    stage: &'a StageCore,
    meter: Arc<Meter>,
    started: Instant,
    is_finished: bool,
}

impl<'a> RunGuard<'a> {
    pub(super) fn new(
        observer: &'a mut dyn RunObserver,
        stage: &'a StageCore,
        meter: Arc<Meter>,
        started: Instant,
    ) -> Self {
        observer.stage_started(stage);
        Self { observer, stage, meter, started, is_finished: false }
    }

    /// The run ended with an answer (`None`) or with an error.
    pub(super) fn finish(mut self, error: Option<&StageError>) {
        self.report(error.map_or(Outcome::Ok, |error| error.outcome), error);
    }

    fn report(&mut self, outcome: Outcome, error: Option<&StageError>) {
        self.is_finished = true;
        let plugin = &self.stage.plugin;
        let report = StageReport {
            stage: self.stage.name.clone(),
            plugin: Arc::clone(&plugin.name),
            version: Arc::clone(&plugin.version),
            digest: Arc::clone(&plugin.digest),
            outcome,
            duration: self.started.elapsed(),
            usage: self.meter.usage(),
            started: self.started,
            max_memory: self.stage.limits.max_memory,
            batches: self.meter.take_batches(),
        };
        self.observer.stage_ended(report, error);
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.report(Outcome::Cancelled, None);
        }
    }
}
