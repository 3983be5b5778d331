//! The record of one request: the memory and time that each stage needed, and how it ended. Dropping the record counts
//! and logs the request, so a cancelled request is counted and logged like any other (`request/end.rs`).

mod end;
mod failures;
mod fork;
mod listed_images;
mod observer;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use bytes::Bytes;
use opentelemetry::trace::TraceId;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::pipeline::PipelineError;
use plimsoll_runtime::stage::{Reply, Request, StageReport};

use self::failures::Failures;
use self::listed_images::ListedImages;
use super::canary_request::CanaryRequest;
use super::canary_side::CanarySide;
use super::memory::callers::Caller;
use super::memory::series::{Route, StageSeries};
use super::origin::Origin;
use super::recording::InputRecorder;
use super::recording::kept_input::{KeptInput, KeptReply};
use super::request_summary::{RequestSummary, merged};
use super::shadow::Tapped;
use super::store::Records;
use super::traces::request_trace::RequestTrace;

/// The properties of a request that are known at its start.
pub struct RequestStart<'a> {
    /// The request's id.
    pub id: String,
    /// The pipeline.
    pub pipeline: &'a str,
    /// The chip. [`RequestRecord::set_chip`] can change it before the first stage.
    pub chip: &'a str,
    /// The time limit of the request, from its start.
    pub deadline: Duration,
    /// Name and version of the requested model, for the statistics of the Open Inference Protocol.
    pub model: Option<(&'a str, &'a str)>,
    /// The side of a canary that the request is on.
    pub canary_side: Option<Arc<CanarySide>>,
    /// The value of the header that identifies the caller.
    pub caller: Option<&'a [u8]>,
    /// Where the request came from. `None` without a server.
    pub origin: Option<Origin>,
    /// The headers, which may continue a trace of the caller.
    pub headers: Option<&'a HeaderMap>,
}

/// The record of a request that runs through a pipeline.
pub struct RequestRecord {
    /// The request's id.
    pub id: String,
    pipeline: String,
    chip: String,
    started: Instant,
    deadline: Instant,
    /// True if the deadline is the caller's own, which is earlier than that of the pipeline.
    is_hurried: bool,
    stages: Vec<StageReport>,
    outcome: Outcome,
    status: Option<u16>,
    origin: Option<Origin>,
    accounting: Accounting,
    canary: Option<Arc<CanaryRequest>>,
    /// The input, if the pipeline records inputs.
    input: Option<Box<KeptInput>>,
    /// The input and the reply, if they are captured.
    capture: Option<Box<Capture>>,
    /// Gets the tensors, if a shadow chip may compute them, too.
    shadow: Option<Tapped>,
    /// The time that the request waited in the queue before its stages could run.
    queue_time: Duration,
    /// The series of the stage that is running.
    running: Option<Arc<StageSeries>>,
    /// The reports of runs at the same time, if there were any.
    forked: Option<Reports>,
    /// The runs that failed, for the log.
    failures: Arc<Failures>,
    /// Decides if it is listed among the latest requests, for a further image of a request.
    listed: Option<Arc<ListedImages>>,
    /// The trace; `None` if traces are off.
    trace: Option<RequestTrace>,
}

/// The reports of runs at the same time: each with whether its mark is the highest of its series.
type Reports = Arc<Mutex<Vec<(StageReport, bool)>>>;

/// What is kept of a request that is captured.
struct Capture {
    input: KeptInput,
    reply: Option<KeptReply>,
}

/// Where a request is counted.
#[derive(Clone)]
struct Accounting {
    records: Arc<Records>,
    route: Arc<Route>,
    caller: Caller,
    /// Name and version of the requested model.
    model: Option<(Arc<str>, Arc<str>)>,
    /// The trace, if it is sampled.
    trace: Option<TraceId>,
}

/// The values that the records of one batch of images share.
pub struct Siblings {
    id: String,
    pipeline: String,
    chip: String,
    deadline: Instant,
    is_hurried: bool,
    origin: Option<Origin>,
    accounting: Accounting,
    canary: Option<Arc<CanaryRequest>>,
    listed: Arc<ListedImages>,
    /// The trace of the first one.
    trace: Option<RequestTrace>,
}

impl RequestRecord {
    /// Starts the record of a request. From now on the request is counted and logged, regardless of how it ends.
    pub fn start(start: RequestStart<'_>, records: &Arc<Records>) -> Self {
        let RequestStart { id, pipeline, chip, deadline, model, canary_side, caller, origin, headers } = start;
        let trace = records.traces.as_ref().map(|traces| RequestTrace::begin(traces, headers));
        let accounting = Accounting {
            trace: trace.as_ref().and_then(RequestTrace::sampled),
            route: records.memory.route(pipeline, chip),
            caller: records.memory.caller(caller),
            model: model.map(|(name, version)| (name.into(), version.into())),
            records: Arc::clone(records),
        };
        let started = Instant::now();
        Self {
            id,
            pipeline: pipeline.to_owned(),
            chip: chip.to_owned(),
            started,
            deadline: started + deadline,
            is_hurried: false,
            stages: Vec::with_capacity(StageKind::STAGES.len()),
            outcome: Outcome::Cancelled,
            status: None,
            origin,
            accounting,
            canary: canary_side.map(|side| Arc::new(CanaryRequest::new(side))),
            input: None,
            capture: None,
            shadow: None,
            queue_time: Duration::ZERO,
            running: None,
            forked: None,
            failures: Arc::default(),
            listed: None,
            trace,
        }
    }

    /// Routes the request to a chip. Call this before the first stage.
    pub fn set_chip(&mut self, chip: &str) {
        if self.chip == chip {
            return;
        }
        if let Some(trace) = &mut self.trace {
            trace.chip_changed(self.stages.len(), &self.chip);
        }
        chip.clone_into(&mut self.chip);
        self.accounting.route = self.accounting.records.memory.route(&self.pipeline, chip);
    }

    /// Shortens the deadline to `time` after the start, if that is earlier.
    pub fn limit_deadline(&mut self, time: Duration) {
        if let Some(limit) = self.started.checked_add(time).filter(|limit| *limit < self.deadline) {
            self.deadline = limit;
            self.is_hurried = true;
        }
    }

    /// Records how long the request waited in the queue.
    pub fn set_queue_time(&mut self, time: Duration) {
        self.queue_time = time;
        self.accounting.route.record_queue(time, self.accounting.trace);
        if let Some(trace) = &mut self.trace {
            trace.set_queued(time);
        }
    }

    /// Keeps the input in memory until the request ends, because only then it is known whether the input is recorded.
    pub fn keep_input(&mut self, recorder: &Arc<InputRecorder>, request: &Request, body: &Bytes) {
        self.input = Some(Box::new(KeptInput::new(recorder, request, body)));
    }

    /// Keeps the input, and the reply, to record both when the request ends.
    pub fn capture(&mut self, recorder: &Arc<InputRecorder>, request: &Request, body: &Bytes) {
        self.capture = Some(Box::new(Capture { input: KeptInput::new(recorder, request, body), reply: None }));
    }

    /// Keeps the reply, if the request is captured.
    pub fn capture_reply(&mut self, reply: &Reply) {
        let Some(mut capture) = self.capture.take() else { return };
        capture.reply = capture.input.with_reply(reply);
        // Without room for the reply the capture is dropped.
        self.capture = capture.reply.is_some().then_some(capture);
    }

    /// The chip.
    pub fn chip(&self) -> &str {
        &self.chip
    }

    /// Returns the values that further requests of the same batch share.
    pub fn siblings(&mut self) -> Siblings {
        if let (Some(trace), Some(traces)) = (&mut self.trace, &self.accounting.records.traces) {
            trace.split(traces, self.started);
        }
        Siblings {
            id: self.id.clone(),
            pipeline: self.pipeline.clone(),
            chip: self.chip.clone(),
            deadline: self.deadline,
            is_hurried: self.is_hurried,
            origin: self.origin,
            accounting: self.accounting.clone(),
            canary: self.canary.clone(),
            listed: Arc::default(),
            trace: self.trace.as_ref().map(|trace| trace.sibling(0)),
        }
    }

    /// Returns the part that is returned to the caller.
    pub fn summary(&self) -> RequestSummary {
        let trace = self.trace.as_ref().and_then(RequestTrace::response);
        RequestSummary { id: self.id.clone(), chip: self.chip.clone(), stages: merged(&self.stages), trace }
    }

    /// The high-water mark of the run that failed, in bytes: the latest of its stage with its outcome.
    pub fn high_water_of(&mut self, failed: &PipelineError) -> u64 {
        self.take_forked();
        let is_it = |it: &&StageReport| it.stage == failed.stage.name && it.outcome == failed.error.outcome;
        self.stages.iter().rev().find(is_it).map_or(0, |report| report.usage.high_water)
    }

    /// The reports of the stages that have ended so far.
    pub fn stages(&self) -> &[StageReport] {
        &self.stages
    }

    /// Sets how the request ended. Without this call the request counts as cancelled.
    pub fn finish(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Sets the HTTP status of the reply, for the log. Without this call it is 200 if the outcome is `ok`, and unknown
    /// otherwise.
    pub fn set_status(&mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Siblings {
    /// Creates the record of the request at `index` of the batch. It has its own id and the deadline of the batch.
    pub fn record(&self, index: usize) -> RequestRecord {
        RequestRecord {
            id: format!("{}.{index}", self.id),
            pipeline: self.pipeline.clone(),
            chip: self.chip.clone(),
            started: Instant::now(),
            deadline: self.deadline,
            is_hurried: self.is_hurried,
            stages: Vec::with_capacity(StageKind::STAGES.len()),
            outcome: Outcome::Cancelled,
            status: None,
            origin: self.origin,
            accounting: self.accounting.clone(),
            canary: self.canary.clone(),
            input: None,
            capture: None,
            shadow: None,
            queue_time: Duration::ZERO,
            running: None,
            forked: None,
            failures: Arc::default(),
            listed: Some(Arc::clone(&self.listed)),
            trace: self.trace.as_ref().map(|trace| trace.sibling(index)),
        }
    }
}
