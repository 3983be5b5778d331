//! The record of one request: what each stage needed and how it ended. Dropping it is what reports it, so a
//! request that is cut off is counted and logged like any other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::deploy::canary::Arm;
use crate::memory::Recorder;
use crate::memory::callers::Caller;
use crate::memory::recordings::{Facts, Recordings, StageFacts, keeps, timestamp};
use crate::memory::series::Route;
use crate::stage::Outcome;
use crate::stage::bindings::Request;

mod stage;

pub use stage::StageReport;

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
    recorded: Option<Recorded>,
    /// The side of a trial that the request is on.
    arm: Option<Arc<Arm>>,
    /// The input, where its pipeline's recorder is on.
    input: Option<Box<Input>>,
    /// Until its stages could run.
    queued: Duration,
}

/// Where a request is counted.
#[derive(Clone)]
struct Recorded {
    recorder: Arc<Recorder>,
    route: Arc<Route>,
    caller: Caller,
    /// Name and version of the model that was asked for.
    model: Option<(Arc<str>, Arc<str>)>,
}

/// What the requests of one batch have in common.
pub struct Siblings {
    id: String,
    pipeline: String,
    chip: String,
    deadline: Instant,
    recorded: Option<Recorded>,
    arm: Option<Arc<Arm>>,
}

/// What the reply tells of a request.
#[derive(Debug, Clone)]
pub struct Report {
    /// The request's id.
    pub id: String,
    /// The chip that it was routed to.
    pub chip: String,
    /// Its stages.
    pub stages: Vec<StageReport>,
}

impl Report {
    /// Adds a request of the same batch: durations add up, of the marks the highest stays.
    pub fn add(&mut self, other: Self) {
        for report in other.stages {
            match self.stages.iter_mut().find(|known| known.stage == report.stage && known.digest == report.digest) {
                None => self.stages.push(report),
                Some(known) => {
                    known.duration += report.duration;
                    known.usage.high_water = known.usage.high_water.max(report.usage.high_water);
                }
            }
        }
    }
}

/// What a recording needs besides the trace itself.
struct Input {
    recordings: Arc<Recordings>,
    content_type: Option<String>,
    parameters: Vec<(String, String)>,
    body: Bytes,
    /// The stages whose mark was the highest of their series.
    raised: Vec<&'static str>,
}

impl Trace {
    /// Begins the record of a request that must end within `time`.
    pub fn new(id: String, pipeline: &str, chip: &str, time: Duration, recorder: Arc<Recorder>) -> Self {
        let mut this = Self::unrecorded(pipeline, chip, time);
        this.id = id;
        let (route, caller) = (recorder.route(pipeline, chip), recorder.caller(None));
        this.recorded = Some(Recorded { recorder, route, caller, model: None });
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
            recorded: None,
            arm: None,
            input: None,
            queued: Duration::ZERO,
        }
    }

    /// Counts the request for a model of the Open Inference Protocol, too.
    pub fn of_model(&mut self, name: &str, version: &str) {
        if let Some(recorded) = &mut self.recorded {
            recorded.model = Some((name.into(), version.into()));
        }
    }

    /// Routes the request to a chip; before its first stage.
    pub fn on_chip(&mut self, chip: &str) {
        if self.chip == chip {
            return;
        }
        chip.clone_into(&mut self.chip);
        if let Some(recorded) = &mut self.recorded {
            recorded.route = recorded.recorder.route(&self.pipeline, chip);
        }
    }

    /// Ends the request's time sooner, if that is sooner.
    pub fn within(&mut self, time: Duration) {
        self.deadline = self.started.checked_add(time).map_or(self.deadline, |wanted| wanted.min(self.deadline));
    }

    /// Notes how long it waited for its place.
    pub fn queued(&mut self, time: Duration) {
        self.queued = time;
    }

    /// What further requests of the same batch begin with.
    pub fn siblings(&self) -> Siblings {
        Siblings {
            id: self.id.clone(),
            pipeline: self.pipeline.clone(),
            chip: self.chip.clone(),
            deadline: self.deadline,
            recorded: self.recorded.clone(),
            arm: self.arm.clone(),
        }
    }

    /// What the reply tells of it.
    pub fn report(&self) -> Report {
        Report { id: self.id.clone(), chip: self.chip.clone(), stages: self.stages.clone() }
    }

    /// The high-water mark of the latest stage, in bytes.
    pub fn high_water(&self) -> u64 {
        self.stages.last().map_or(0, |report| report.usage.high_water)
    }

    /// Counts the request on a side of a trial, too.
    pub fn of_trial(&mut self, arm: Arc<Arm>) {
        self.arm = Some(arm);
    }

    /// Counts the request as this caller's.
    pub fn of_caller(&mut self, caller: Caller) {
        if let Some(recorded) = &mut self.recorded {
            recorded.caller = caller;
        }
    }

    /// Keeps the input at hand, for it may turn out to be one that is recorded.
    pub fn of_input(&mut self, recordings: &Arc<Recordings>, request: &Request, body: &Bytes) {
        self.input = Some(Box::new(Input {
            recordings: Arc::clone(recordings),
            content_type: request.content_type.clone(),
            parameters: request.parameters.clone(),
            body: body.clone(),
            raised: Vec::new(),
        }));
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
}

impl Siblings {
    /// The record of the request at `index`: an id of its own, the deadline of all.
    pub fn trace(&self, index: usize) -> Trace {
        let mut trace = Trace::unrecorded(&self.pipeline, &self.chip, Duration::ZERO);
        trace.id = format!("{}.{index}", self.id);
        trace.deadline = self.deadline;
        trace.recorded = self.recorded.clone();
        trace.arm = self.arm.clone();
        trace
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let Self { id, pipeline, chip, started, stages, outcome, recorded, arm, input, queued, deadline: _ } = self;
        // A request that never came to the plugin on trial says nothing of it.
        if let Some(arm) = arm.as_ref().filter(|arm| stages.iter().any(|stage| arm.is_of(&stage.plugin))) {
            arm.request();
        }
        let Some(Recorded { recorder, route, caller, model }) = recorded else { return };
        let duration = started.elapsed();
        recorder.request(route, caller, *outcome, duration, stages);
        if let Some((name, version)) = model {
            recorder.statistics.request(name, version, *outcome, duration, *queued, stages);
        }
        if let Some(input) = input.take() {
            input.keep(*outcome, stages, || Facts {
                time: timestamp(),
                request: id.clone(),
                pipeline: pipeline.clone(),
                chip: chip.clone(),
                caller: caller.name.to_string(),
                content_type: None,
                parameters: Vec::new(),
                outcome: outcome.as_str().to_owned(),
                kept_for: Vec::new(),
                stages: stages.iter().map(StageFacts::from).collect(),
            });
        }
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

impl Input {
    /// Records the input if it is one of those that are kept.
    fn keep(self, outcome: Outcome, stages: &[StageReport], facts: impl FnOnce() -> Facts) {
        let Self { recordings, content_type, parameters, body, raised } = self;
        let mut kept_for: Vec<_> = raised.iter().map(|stage| format!("high_water {stage}")).collect();
        let ended = stages.iter().map(|report| report.outcome).chain([outcome]).find(|outcome| keeps(*outcome));
        kept_for.extend(ended.map(|outcome| outcome.as_str().to_owned()));
        if !kept_for.is_empty() {
            recordings.keep(Facts { content_type, parameters, kept_for, ..facts() }, body);
        }
    }
}
