//! Counts the memory of every stage run and request since start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceId;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

use super::callers::{Caller, Callers};
use super::series::{Route, StageSeries};
use crate::records::metrics::Metrics;
use crate::records::metrics::stage_marks::StageMark;

/// Routes by pipeline, then by chip.
type Routes = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Route>>>;

/// The memory that stage runs and requests needed since start.
pub struct MemoryStats {
    pub(super) started: Instant,
    routes: RwLock<Routes>,
    pub(super) callers: Callers,
    /// The name of the header that identifies the caller.
    pub(super) caller_header: String,
    /// The number of cells of the comparison, over all series.
    cells: AtomicUsize,
    /// The Prometheus metrics, which count the same events.
    pub(super) metrics: Arc<Metrics>,
}

impl MemoryStats {
    /// Creates empty statistics. `top_callers` callers are tracked by bytes, and the same number by requests.
    pub fn new(caller_header: &str, top_callers: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            started: Instant::now(),
            routes: RwLock::default(),
            callers: Callers::new(caller_header, top_callers),
            caller_header: caller_header.to_owned(),
            cells: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Returns the route of a pipeline on a chip and creates it if needed. Both names are from the configuration, so
    /// there are few routes.
    pub fn route(&self, pipeline: &str, chip: &str) -> Arc<Route> {
        let known = |routes: &Routes| routes.get(pipeline).and_then(|chips| chips.get(chip)).map(Arc::clone);
        if let Some(route) = known(&self.routes.read().unwrap_or_else(PoisonError::into_inner)) {
            return route;
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = known(&routes) {
            return route;
        }
        let route = Arc::new(Route::new(pipeline, chip, &self.metrics));
        let chips = routes.entry(Arc::clone(&route.pipeline)).or_default();
        chips.insert(Arc::clone(&route.chip), Arc::clone(&route));
        route
    }

    /// Returns the caller that a header value identifies. Requests without the header share one caller.
    pub fn caller(&self, value: Option<&[u8]>) -> Caller {
        value.map_or_else(|| self.callers.no_caller(), |value| self.callers.caller(value))
    }

    /// Counts one stage run that ended `now`, of a request with this trace if it is sampled. Returns true if its high-water mark is the highest of its series so far.
    pub fn record_stage(
        &self,
        (route, trace): (&Route, Option<TraceId>),
        series: &StageSeries,
        report: &StageReport,
        caller: &Caller,
        now: Instant,
    ) -> bool {
        series.record((route, trace), report, caller.id(), self.seconds(now), (&self.metrics, &self.cells))
    }

    /// Counts one request that ended `now`, with its trace if it is sampled, and the stages that it reached.
    pub fn record_request(
        &self,
        (route, trace): (&Route, Option<TraceId>),
        caller: &Caller,
        outcome: Outcome,
        (duration, now): (Duration, Instant),
        stages: &[StageReport],
    ) {
        route.record((outcome, trace), duration, self.seconds(now), &self.metrics);
        // Only growth counts, because the initial memory of an instance is not caused by the caller. It would hide
        // callers whose requests end early.
        let grown = stages.iter().map(|report| report.usage.grown()).sum();
        let max = stages.iter().map(|report| report.usage.high_water).max().unwrap_or(0);
        let gone = self.callers.record(caller, outcome, grown, max);
        if !gone.is_empty() {
            for route in self.routes() {
                for series in route.stages() {
                    series.series().for_each(|(_, series)| series.lock().fold(&gone, &self.cells));
                }
            }
        }
    }

    /// Removes the series of the stages and versions that are gone, and the routes (pipeline and chip) that are gone. Without
    /// this, memory would grow with every deployment and every new configuration. Call it again later: a request that
    /// began before its version was removed may create its series again, and a series in which a stage runs is only
    /// removed by a later call.
    pub fn retain(&self, is_known: impl Fn(&str, &StageSeries) -> bool, is_served: impl Fn(&str, &str) -> bool) {
        let routes = self.routes();
        let mut has_gone = false;
        for route in &routes {
            let is_there = is_served(&route.pipeline, &route.chip);
            has_gone |= !is_there;
            for removed in route.retain(|series| is_there && is_known(&route.pipeline, series)) {
                // A stage and a step may have the same name, so their metrics have the same labels.
                let is_shared = route
                    .stages()
                    .iter()
                    .any(|other| other.stage.as_str() == removed.stage.as_str() && other.plugin == removed.plugin);
                for (outcome, known) in removed.series() {
                    self.cells.fetch_sub(known.lock().bounded_cells(), Relaxed);
                    if !is_shared {
                        self.metrics.remove(&route.key(&removed, outcome));
                    }
                }
                let (stage, plugin) = (&removed.stage, &removed.plugin.name);
                let others = routes.iter().filter(|other| other.pipeline == route.pipeline);
                if !others.into_iter().any(|other| other.has(stage, plugin)) {
                    self.metrics.remove_live(&route.pipeline, stage, plugin);
                }
            }
        }
        drop(routes);
        if has_gone {
            self.remove_routes(is_served);
        }
    }

    /// Removes the routes that are gone, except those that a request uses now.
    fn remove_routes(&self, is_served: impl Fn(&str, &str) -> bool) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        for chips in routes.values_mut() {
            // The lock is held, so nothing else can begin to use a route that is not in use.
            let is_gone = |route: &Arc<Route>| {
                !is_served(&route.pipeline, &route.chip) && Arc::strong_count(route) == 1 && route.stages().is_empty()
            };
            for (_, route) in chips.extract_if(.., |_, route| is_gone(route)) {
                self.metrics.remove_route(&route.pipeline, &route.chip);
            }
        }
        for (pipeline, _) in routes.extract_if(.., |_, chips| chips.is_empty()) {
            self.metrics.remove_pipeline(&pipeline);
        }
    }

    /// Sets the metrics of the highest marks at the time `now`.
    pub fn update_metrics(&self, now: Instant) {
        let now = self.seconds(now);
        let mut marks = Vec::new();
        for route in self.routes() {
            for stage in route.stages() {
                let highest = stage.series().map(|(_, series)| series.lock().marks.highest_of_ten_minutes(now)).max();
                marks.push(StageMark {
                    pipeline: route.pipeline.to_string(),
                    chip: route.chip.to_string(),
                    stage: stage.stage.clone(),
                    plugin: stage.plugin.clone(),
                    highest: highest.unwrap_or(0),
                    cap: stage.max_memory.load(Relaxed),
                });
            }
        }
        self.metrics.set_marks(marks);
    }

    /// All routes.
    pub(super) fn routes(&self) -> Vec<Arc<Route>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.values().flat_map(BTreeMap::values).map(Arc::clone).collect()
    }

    /// Seconds from start to `now`.
    pub(super) fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs()
    }
}
