//! The series in which stage runs are counted. A request looks up its route once; each stage then looks up its series
//! in that route. Lookups compare names, so they do not allocate. A series holds its metrics, so they need no lookup.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::trace::TraceId;
use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::kind::StageName;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{StageCore, StageReport};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::callers::{CallerId, OTHERS_ID};
use super::compare::Cell;
use super::marks::Marks;
use super::route_history::{RouteHistory, StageTimeline};
use crate::records::key::SeriesKey;
use crate::records::metrics::traces::TracedHistogram;
use crate::records::metrics::{Metrics, StageMetrics};

/// Maximum number of cells of the comparison, over all series and callers. Callers that exceed it are counted together
/// as [`OTHERS_ID`].
const MAX_CELLS: usize = 10_000;

/// A pipeline on a chip.
pub struct Route {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The chip.
    pub chip: Arc<str>,
    seconds: TracedHistogram,
    queue_seconds: TracedHistogram,
    requests: [OnceLock<Counter>; Outcome::ALL.len()],
    /// A few for each stage: the versions that served since start and are not yet removed.
    stages: RwLock<Vec<Arc<StageSeries>>>,
    /// When requests ended, and how.
    pub(super) history: RouteHistory,
}

/// A version of a plugin as a stage of a route.
pub struct StageSeries {
    /// The stage.
    pub stage: StageName,
    /// The plugin.
    pub plugin: Identity,
    /// The cap of the latest run, in bytes.
    pub max_memory: AtomicU64,
    /// Instances of the stage's plugin that are live now, in all versions and on all chips.
    pub live: Gauge,
    /// When its runs ended. All versions share it.
    timeline: Arc<StageTimeline>,
    outcomes: [OnceLock<Box<Series>>; Outcome::ALL.len()],
}

/// Runs of a stage with the same outcome.
pub struct Series {
    counts: Mutex<Counts>,
    metrics: StageMetrics,
}

/// The part of a series that the lock protects.
pub struct Counts {
    /// The high-water marks of the runs.
    pub marks: Marks,
    /// The cells by caller, sorted by the caller's number.
    pub cells: Vec<(CallerId, Cell)>,
}

impl Route {
    pub(super) fn new(pipeline: &str, chip: &str, metrics: &Metrics) -> Self {
        Self {
            pipeline: pipeline.into(),
            chip: chip.into(),
            seconds: metrics.request_seconds(pipeline, chip),
            queue_seconds: metrics.queue_seconds(pipeline),
            requests: Default::default(),
            stages: RwLock::default(),
            history: RouteHistory::default(),
        }
    }

    /// Counts a request that ended `now` seconds after start.
    pub(super) fn record(
        &self,
        (outcome, trace): (Outcome, Option<TraceId>),
        duration: Duration,
        now: u64,
        metrics: &Metrics,
    ) {
        self.seconds.observe(duration.as_secs_f64(), trace);
        self.history.record_request(outcome, duration, now);
        let counter = &self.requests[outcome as usize];
        counter.get_or_init(|| metrics.requests(&self.pipeline, &self.chip, outcome)).inc();
    }

    /// Counts how long a request waited for a slot to run.
    pub(in crate::records) fn record_queue(&self, time: Duration, trace: Option<TraceId>) {
        self.queue_seconds.observe(time.as_secs_f64(), trace);
    }

    /// Returns the series of a stage and creates it if needed.
    pub fn stage(&self, stage: &StageCore, metrics: &Metrics) -> Arc<StageSeries> {
        let known = |stages: &[Arc<StageSeries>]| stages.iter().find(|series| series.is_of(stage)).map(Arc::clone);
        if let Some(series) = known(&self.stages.read().unwrap_or_else(PoisonError::into_inner)) {
            // A write would take the line from the caches of the other cores.
            if series.max_memory.load(Relaxed) != stage.limits.max_memory {
                series.max_memory.store(stage.limits.max_memory, Relaxed);
            }
            return series;
        }
        let mut stages = self.stages.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known(&stages) {
            return series;
        }
        let same = stages.iter().find(|series| series.stage == stage.name);
        let series = Arc::new(StageSeries {
            timeline: same.map(|series| Arc::clone(&series.timeline)).unwrap_or_default(),
            stage: stage.name.clone(),
            plugin: stage.plugin.clone(),
            max_memory: AtomicU64::new(stage.limits.max_memory),
            live: metrics.live(&self.pipeline, &stage.name, &stage.plugin.name),
            outcomes: Default::default(),
        });
        stages.push(Arc::clone(&series));
        series
    }

    /// The timelines of the stages.
    pub(super) fn timelines(&self) -> BTreeMap<StageName, Arc<StageTimeline>> {
        let stages = self.stages.read().unwrap_or_else(PoisonError::into_inner);
        stages.iter().map(|series| (series.stage.clone(), Arc::clone(&series.timeline))).collect()
    }

    /// All series of the route.
    pub(super) fn stages(&self) -> Vec<Arc<StageSeries>> {
        self.stages.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes and returns the series of stages and versions that are gone, except those in which a stage runs now.
    pub(super) fn retain(&self, is_known: impl Fn(&StageSeries) -> bool) -> Vec<Arc<StageSeries>> {
        if self.stages.read().unwrap_or_else(PoisonError::into_inner).iter().all(|series| is_known(series)) {
            return Vec::new();
        }
        let mut stages = self.stages.write().unwrap_or_else(PoisonError::into_inner);
        // The lock is held, so nothing else can begin to use a series that is not in use.
        stages.extract_if(.., |series| !is_known(series) && Arc::strong_count(series) == 1).collect()
    }

    /// Returns true if the route has a series of a plugin in this stage.
    pub(super) fn has(&self, stage: &StageName, plugin: &str) -> bool {
        let stages = self.stages.read().unwrap_or_else(PoisonError::into_inner);
        stages.iter().any(|series| series.stage == *stage && *series.plugin.name == *plugin)
    }

    pub(super) fn key(&self, series: &StageSeries, outcome: Outcome) -> SeriesKey {
        SeriesKey {
            pipeline: Arc::clone(&self.pipeline),
            stage: series.stage.clone(),
            plugin: Arc::clone(&series.plugin.name),
            version: Arc::clone(&series.plugin.version),
            digest: Arc::clone(&series.plugin.digest),
            chip: Arc::clone(&self.chip),
            outcome,
        }
    }
}

impl StageSeries {
    fn is_of(&self, stage: &StageCore) -> bool {
        // Almost always the pointers are equal, so the text is not compared.
        let same = |a: &Arc<str>, b: &Arc<str>| Arc::ptr_eq(a, b) || a == b;
        let Identity { name, version, digest } = &self.plugin;
        self.stage == stage.name
            && same(digest, &stage.plugin.digest)
            && same(name, &stage.plugin.name)
            && same(version, &stage.plugin.version)
    }

    /// Counts a run that ended `now` seconds after start. Returns true if its high-water mark is the highest
    /// of its series so far.
    pub(super) fn record(
        &self,
        (route, trace): (&Route, Option<TraceId>),
        report: &StageReport,
        caller: CallerId,
        now: u64,
        (metrics, cells): (&Metrics, &AtomicUsize),
    ) -> bool {
        let outcome = report.outcome;
        let series = self.outcomes[outcome as usize].get_or_init(|| {
            let counts = Mutex::new(Counts { marks: Marks::new(), cells: Vec::new() });
            Box::new(Series { counts, metrics: metrics.stage(&route.key(self, outcome)) })
        });
        let StageMetrics { seconds, high_water, .. } = &series.metrics;
        seconds.observe(report.duration.as_secs_f64(), trace);
        high_water.observe(report.usage.high_water as f64, trace);
        series.metrics.count_refused(report.usage.refused);
        self.timeline.record(report.usage.high_water, now);
        let mut counts = series.lock();
        let is_higher = counts.marks.record(&report.usage, now);
        // A run that got no instance says nothing about the memory that its caller needs.
        if report.usage.high_water > 0 {
            counts.cell(caller, cells).record(report.usage.high_water);
        }
        is_higher
    }

    /// The series of the outcomes that have occurred.
    pub(super) fn series(&self) -> impl Iterator<Item = (Outcome, &Series)> {
        let outcomes = Outcome::ALL.into_iter().zip(&self.outcomes);
        outcomes.filter_map(|(outcome, series)| Some((outcome, &**series.get()?)))
    }
}

impl Series {
    /// The counts. Hold the lock only to read or write them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn cell(&mut self, caller: CallerId, all: &AtomicUsize) -> &mut Cell {
        let found = self.cells.binary_search_by_key(&caller, |(caller, _)| *caller);
        let at = found.or_else(|at| {
            if caller == OTHERS_ID {
                return Err((at, caller));
            }
            let room = all.fetch_update(Relaxed, Relaxed, |cells| (cells < MAX_CELLS).then_some(cells + 1));
            if room.is_ok() { Err((at, caller)) } else { self.others() }
        });
        let at = at.unwrap_or_else(|(at, caller)| {
            self.cells.insert(at, (caller, Cell::default()));
            at
        });
        &mut self.cells[at].1
    }

    /// The position of the cell for callers that are not tracked; an error with the position to insert it if it is
    /// absent. It is always the first, because [`OTHERS_ID`] is the smallest number.
    fn others(&self) -> Result<usize, (usize, CallerId)> {
        match self.cells.first() {
            Some((OTHERS_ID, _)) => Ok(0),
            _ => Err((0, OTHERS_ID)),
        }
    }

    /// Merges the cells of callers that are no longer tracked into the cell of [`OTHERS_ID`].
    pub(super) fn fold(&mut self, gone: &[CallerId], all: &AtomicUsize) {
        let mut sum = Cell::default();
        let folded = self.cells.extract_if(.., |(caller, _)| gone.contains(caller));
        let count = folded.map(|(_, cell)| sum.add(&cell)).count();
        if count > 0 {
            all.fetch_sub(count, Relaxed);
            self.cell(OTHERS_ID, all).add(&sum);
        }
    }

    /// The number of cells that count towards `MAX_CELLS`.
    pub(super) fn bounded_cells(&self) -> usize {
        self.cells.iter().filter(|(caller, _)| *caller != OTHERS_ID).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_limited_and_merged_into_the_others() {
        let all = AtomicUsize::new(MAX_CELLS - 2);
        let mut counts = Counts { marks: Marks::new(), cells: Vec::new() };
        for caller in [7, 5, 9, 11, 5] {
            counts.cell(caller, &all).record(65536);
        }
        let runs = |counts: &Counts| counts.cells.iter().map(|(caller, cell)| (*caller, cell.runs)).collect::<Vec<_>>();
        assert_eq!(runs(&counts), [(OTHERS_ID, 2), (5, 2), (7, 1)]);
        assert_eq!((all.load(Relaxed), counts.bounded_cells()), (MAX_CELLS, 2));
        counts.fold(&[5, 100], &all);
        assert_eq!(runs(&counts), [(OTHERS_ID, 4), (7, 1)]);
        assert_eq!(all.load(Relaxed), MAX_CELLS - 1);
    }
}
