//! The end of a request: it is counted, logged and kept as one of the latest, and its input is recorded if it is
//! wanted.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

use super::{Accounting, RequestRecord};
use crate::records::canary_request::PartEnd;
use crate::records::origin::Origin;
use crate::records::recent::RecentRequest;
use crate::records::recording::{Facts, StageFacts};
use crate::records::request_summary::{merged, repeats_steps};
use crate::records::statistics::ModelRequest;
use crate::records::time::timestamp;
use crate::records::traces::request_trace::{RequestEnd, RequestTrace};

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.outcome = Outcome::Internal;
        }
        self.take_forked();
        self.failures.log_rest(&self.id);
        let now = Instant::now();
        let duration = now.saturating_duration_since(self.started);
        let Self { id, pipeline, chip, stages, outcome, accounting, canary, queue_time, origin, .. } = self;
        let status = self.status.or((*outcome == Outcome::Ok).then_some(200));
        if let Some(canary) = canary {
            canary.add(stages, PartEnd { outcome: *outcome, is_hurried: self.is_hurried });
        }
        // Otherwise a caller could push recordings out by time-outs that no version can meet.
        let is_cut_short = self.is_hurried && *outcome == Outcome::Deadline;
        let Accounting { records, route, caller, model, trace: sampled } = accounting;
        records.memory.record_request((route, *sampled), caller, *outcome, (duration, now), stages);
        if let Some((name, version)) = model {
            let request = ModelRequest { pipeline, outcome: *outcome, duration, queue_time: *queue_time, stages };
            records.statistics.record(name, version, &request);
        }
        let facts = || Facts {
            time: timestamp(),
            request: id.clone(),
            pipeline: pipeline.clone(),
            chip: chip.clone(),
            caller: caller.name.to_string(),
            content_type: None,
            parameters: Vec::new(),
            outcome: outcome.as_str().to_owned(),
            kept_for: Vec::new(),
            stages: merged(stages).iter().map(StageFacts::from).collect(),
            reply: None,
        };
        if let Some(shadow) = self.shadow.take().filter(|_| !std::thread::panicking()) {
            shadow.request_ended(|| self.input.as_ref().map(|input| input.recording(facts())));
        }
        if let Some(capture) = self.capture.take() {
            capture.input.recording(facts()).capture(capture.reply);
        }
        if let Some(input) = self.input.take().filter(|_| !is_cut_short) {
            input.record(*outcome, stages, facts);
        }
        let is_of = |report: &StageReport, kind| report.stage == StageName::from(kind);
        let mark = |kind: StageKind| stages.iter().find(|it| is_of(it, kind)).map(|report| report.usage.high_water);
        let has_steps = stages.iter().any(|report| report.stage.is_step());
        // The runs of a step for its items are one, because the caller decides how many there are.
        let merged_steps = (has_steps && repeats_steps(stages)).then(|| merged(stages));
        let steps = merged_steps.as_deref().unwrap_or(stages);
        tracing::info!(
            target: "plimsoll::request",
            request = %id, %pipeline, %chip,
            outcome = outcome.as_str(),
            status,
            method = origin.map(|origin| origin.method),
            route = origin.map(|origin| origin.route),
            caller = &*caller.name,
            trace = self.trace.as_ref().and_then(RequestTrace::shown).map(display),
            client = origin.map(|Origin { client, .. }| display(client.map_or_else(|| "unix".into(), |it| it.to_string()))),
            duration_ms = duration.as_secs_f64() * 1e3,
            preprocess_bytes = mark(StageKind::Preprocess),
            infer_bytes = mark(StageKind::Infer),
            postprocess_bytes = mark(StageKind::Postprocess),
            step_bytes = has_steps.then(|| display(StepBytes(steps))),
            "request"
        );
        if let (Some(trace), Some(traces)) = (&mut self.trace, &records.traces) {
            let (pipeline, chip, caller) = (&route.pipeline, &route.chip, &caller.name);
            let (started, origin) = (self.started, *origin);
            let outcome = *outcome;
            trace.end(traces, &RequestEnd { id, pipeline, chip, caller, origin, outcome, status, started, stages });
        }
        if self.listed.as_ref().is_some_and(|listed| !listed.add(*outcome)) {
            return;
        }
        records.recent.add(RecentRequest {
            id: std::mem::take(id),
            pipeline: Arc::clone(&route.pipeline),
            chip: Arc::clone(&route.chip),
            caller: Arc::clone(&caller.name),
            outcome: *outcome,
            status,
            started: SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            queue_time: *queue_time,
            stages: merged_steps.unwrap_or_else(|| std::mem::take(stages)),
        });
    }
}

/// The high-water marks of steps, for the log.
struct StepBytes<'a>(&'a [StageReport]);

impl fmt::Display for StepBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            f.write_str(step.stage.as_str())?;
            f.write_str("=")?;
            fmt::Display::fmt(&step.usage.high_water, f)?;
        }
        Ok(())
    }
}
