//! One stage run inside a request: what it needed, and the guard that reports it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Recorded, Trace};
use crate::memory::series::StageSeries;
use crate::stage::cap::{Meter, Usage};
use crate::stage::{Outcome, Stage, StageError};

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
    /// Begins a stage; the guard's drop reports it.
    pub(crate) fn enter<'a>(&'a mut self, stage: &'a Stage, meter: Arc<Meter>, started: Instant) -> StageGuard<'a> {
        let series = self.recorded.as_ref().map(|recorded| {
            let series = recorded.route.stage(stage, &recorded.recorder.metrics);
            series.live.inc();
            series
        });
        StageGuard { trace: self, stage, meter, started, outcome: Outcome::Cancelled, series }
    }
}

/// One stage run inside a request.
pub(crate) struct StageGuard<'a> {
    trace: &'a mut Trace,
    stage: &'a Stage,
    meter: Arc<Meter>,
    started: Instant,
    outcome: Outcome,
    /// `None` where nothing is counted.
    series: Option<Arc<StageSeries>>,
}

impl StageGuard<'_> {
    /// Ends the stage with an answer (`None`) or with an error, which is logged whole.
    pub(crate) fn finish(mut self, error: Option<&StageError>) {
        self.outcome = error.map_or(Outcome::Ok, |error| error.outcome);
        let told = error.filter(|error| !error.detail.is_empty() && self.series.is_some());
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
        let Self { trace, stage, meter, started, outcome, series } = self;
        let now = Instant::now();
        let report = StageReport {
            stage: stage.name,
            plugin: Arc::clone(&stage.plugin.name),
            version: Arc::clone(&stage.plugin.version),
            digest: Arc::clone(&stage.plugin.digest),
            outcome: *outcome,
            duration: now - *started,
            usage: meter.usage(),
        };
        if let Some(arm) = &trace.arm {
            arm.stage(&report.plugin, *outcome, report.usage.high_water);
        }
        if let (Some(series), Some(Recorded { recorder, route, caller, .. })) = (series, &trace.recorded) {
            series.live.dec();
            let is_highest = recorder.stage(route, series, &report, caller, now);
            if let Some(input) = trace.input.as_mut().filter(|_| is_highest) {
                input.raised.push(stage.name);
            }
        }
        trace.stages.push(report);
    }
}
