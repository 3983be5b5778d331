//! The memory report: what stage runs needed, by whom it was asked for, and what follows from it, beside the resident
//! memory of the process. What must stay flat is the latter; the former says who needs how much.
//!
//! - [`series`]: where a stage run is counted: by pipeline, stage, plugin, version, chip and outcome.
//! - [`marks`]: high-water marks since start and over sliding windows.
//! - [`callers`]: who sends what needs the memory.
//! - [`compare`]: whether a difference is due to the chip or to the mix of inputs; [`advice`]: which cap a stage needs.
//! - [`mod@process`]: resident memory, cgroup, pool.
//! - [`report`]: all of it as JSON and CSV.
//! - [`recordings`]: inputs kept on disk, to be run again.

pub mod advice;
pub mod callers;
pub mod compare;
pub mod marks;
pub mod process;
pub mod recordings;
pub mod report;
pub mod series;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use axum::http::HeaderName;
use serde::Serialize;

use crate::config;
use crate::metrics::Metrics;
use crate::plugin::Identity;
use crate::stage::Outcome;
use crate::trace::StageReport;
use callers::{Caller, Callers};
pub use process::process;
use series::{Route, StageSeries};

/// What high-water marks are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
    /// SHA-256 of the plugin, hexadecimal: two builds may call themselves by one version.
    pub digest: Arc<str>,
    /// The chip that the request was routed to.
    pub chip: Arc<str>,
    /// How the stage ended.
    pub outcome: Outcome,
}

/// By pipeline, then by chip.
type Routes = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Route>>>;

/// Collects what every stage run needed, since start.
pub struct Recorder {
    started: Instant,
    routes: RwLock<Routes>,
    callers: Callers,
    /// The header that names the caller.
    pub caller_header: HeaderName,
    /// How many cells of the comparison there are.
    cells: AtomicUsize,
    /// The same events for Prometheus.
    pub metrics: Metrics,
    /// The same requests by model and version.
    pub statistics: crate::oip::statistics::Statistics,
}

impl Recorder {
    /// An empty record.
    pub fn new(config: &config::Memory) -> Self {
        Self {
            started: Instant::now(),
            routes: RwLock::default(),
            callers: Callers::new(config.caller_header.as_str(), config.top_callers),
            caller_header: config.caller_header.clone(),
            cells: AtomicUsize::new(0),
            metrics: Metrics::new(),
            statistics: crate::oip::statistics::Statistics::default(),
        }
    }

    /// Where the requests of a pipeline on a chip are counted. Both are names of the configuration, so they are few.
    pub fn route(&self, pipeline: &str, chip: &str) -> Arc<Route> {
        let known = |routes: &Routes| routes.get(pipeline).and_then(|chips| chips.get(chip)).map(Arc::clone);
        if let Some(route) = known(&self.routes.read().expect("no holder panics")) {
            return route;
        }
        let mut routes = self.routes.write().expect("no holder panics");
        if let Some(route) = known(&routes) {
            return route;
        }
        let route = Arc::new(Route::new(pipeline, chip, &self.metrics));
        let chips = routes.entry(Arc::clone(&route.pipeline)).or_default();
        chips.insert(Arc::clone(&route.chip), Arc::clone(&route));
        route
    }

    /// The caller whom a value of the header names; without one, the caller of all such requests.
    pub fn caller(&self, value: Option<&[u8]>) -> Caller {
        value.map_or_else(|| self.callers.nobody(), |value| self.callers.caller(value))
    }

    /// Counts one stage run that ended `now`; says whether its mark is the highest of its series.
    pub fn stage(
        &self,
        route: &Route,
        series: &StageSeries,
        report: &StageReport,
        caller: &Caller,
        now: Instant,
    ) -> bool {
        series.record(route, report, caller.id(), self.seconds(now), (&self.metrics, &self.cells))
    }

    /// Counts one request, with the stages that it came to.
    pub fn request(
        &self,
        route: &Route,
        caller: &Caller,
        outcome: Outcome,
        duration: Duration,
        stages: &[StageReport],
    ) {
        route.request(outcome, duration.as_secs_f64(), &self.metrics);
        // What an instance holds anyway is not the caller's doing, and would hide those whose requests end early.
        let grown = stages.iter().map(|report| report.usage.grown()).sum();
        let max = stages.iter().map(|report| report.usage.high_water).max().unwrap_or(0);
        let gone = self.callers.request(caller, outcome, grown, max);
        if !gone.is_empty() {
            for route in self.routes() {
                for series in route.stages() {
                    series.series().for_each(|(_, series)| series.book().fold(&gone, &self.cells));
                }
            }
        }
    }

    /// Drops what is known of a version that is gone for good: there may be any number of them.
    pub fn forget(&self, plugin: &Identity) {
        for route in self.routes() {
            for series in route.forget(plugin) {
                for (outcome, known) in series.series() {
                    self.cells.fetch_sub(known.book().bounded_cells(), std::sync::atomic::Ordering::Relaxed);
                    self.metrics.forget(&route.key(&series, outcome));
                }
            }
        }
    }

    fn routes(&self) -> Vec<Arc<Route>> {
        let routes = self.routes.read().expect("no holder panics");
        routes.values().flat_map(BTreeMap::values).map(Arc::clone).collect()
    }

    /// Seconds from start to `now`.
    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs()
    }
}
