//! The timelines of a route: the high-water marks of each stage, and the outcomes and times of requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use plimsoll_runtime::cap::PAGE;
use plimsoll_runtime::outcome::Outcome;
use serde::Serialize;

use super::latency::Latencies;
use super::slot::Slot;
use super::timeline::{Interval, Step, Timeline};

/// Points in columns, oldest first. Intervals without a run are absent.
#[derive(Debug, Default, Serialize)]
pub struct MarkPoints {
    /// Seconds from the start of the interval to that of the current one, which is not complete.
    pub ago: Vec<u64>,
    /// Number of stage runs.
    pub count: Vec<u32>,
    /// Highest high-water mark in bytes.
    pub max: Vec<u64>,
    /// 99th percentile of the high-water marks in bytes.
    pub p99: Vec<u64>,
}

/// Points in columns, oldest first. Intervals in which no request ended are absent.
#[derive(Debug, Default, Serialize)]
pub struct RequestPoints {
    /// Seconds from the start of the interval to that of the current one, which is not complete.
    pub ago: Vec<u64>,
    /// Number of requests by outcome. Outcomes that did not occur are absent.
    pub outcomes: BTreeMap<&'static str, Vec<u32>>,
    /// Median of the times of the requests in seconds.
    pub p50_seconds: Vec<f64>,
    /// 99th percentile of the times in seconds.
    pub p99_seconds: Vec<f64>,
    /// Longest time in seconds.
    pub max_seconds: Vec<f64>,
}

/// The timeline of the requests of a route.
#[derive(Default)]
pub struct RouteHistory(Lazy<RequestInterval>);

/// The timeline of a stage of a route. All versions of its plugins share it.
#[derive(Default)]
pub struct StageTimeline(Lazy<MarkInterval>);

/// A timeline that needs memory only from its first use on.
type Lazy<I> = Mutex<Option<Box<Timeline<I>>>>;

/// The stage runs of an interval.
#[derive(Default)]
struct MarkInterval(Slot);

/// The requests of an interval.
#[derive(Default)]
struct RequestInterval {
    outcomes: [u32; Outcome::ALL.len()],
    latencies: Latencies,
}

#[derive(Clone, Copy)]
struct MarkPoint {
    count: u32,
    max: u64,
    p99: u64,
}

#[derive(Clone, Copy)]
struct RequestPoint {
    outcomes: [u32; Outcome::ALL.len()],
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Interval for MarkInterval {
    type Point = MarkPoint;

    fn point(&self) -> MarkPoint {
        let (count, max, p99) = self.0.figures();
        MarkPoint { count, max, p99 }
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Interval for RequestInterval {
    type Point = RequestPoint;

    fn point(&self) -> RequestPoint {
        let [p50, p99] = [0.5, 0.99].map(|quantile| self.latencies.quantile(quantile));
        RequestPoint { outcomes: self.outcomes, p50, p99, max: self.latencies.max() }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl StageTimeline {
    /// Counts a stage run that ended `now` seconds after start.
    pub fn record(&self, high_water: u64, now: u64) {
        let pages = u32::try_from(high_water.div_ceil(PAGE)).unwrap_or(u32::MAX);
        record(&self.0, now, |interval| interval.0.record(pages, high_water));
    }

    /// The points, with one step or all, `now` seconds after start.
    pub(super) fn marks(&self, step: Option<Step>, now: u64) -> BTreeMap<String, MarkPoints> {
        steps(&self.0, (step, now), mark_columns)
    }
}

impl RouteHistory {
    /// Counts a request that ended `now` seconds after start.
    pub fn record_request(&self, outcome: Outcome, duration: Duration, now: u64) {
        record(&self.0, now, |interval| {
            let count = &mut interval.outcomes[outcome as usize];
            *count = count.saturating_add(1);
            interval.latencies.record(duration);
        });
    }

    /// The points of the requests, with one step or all, `now` seconds after start.
    pub(super) fn requests(&self, step: Option<Step>, now: u64) -> BTreeMap<String, RequestPoints> {
        steps(&self.0, (step, now), request_columns)
    }
}

fn record<I: Interval>(timeline: &Lazy<I>, now: u64, count: impl Fn(&mut I)) {
    let mut timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
    timeline.get_or_insert_default().record(now, count);
}

/// The points of the wanted steps, or of all.
fn steps<I: Interval, P>(
    timeline: &Lazy<I>,
    (step, now): (Option<Step>, u64),
    columns: impl Fn(Vec<(u64, I::Point)>) -> P,
) -> BTreeMap<String, P> {
    let timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = Step::ALL.into_iter().filter(|known| step.is_none_or(|step| step == *known));
    let points = |step| timeline.as_ref().map_or_else(Vec::new, |timeline| timeline.points(step, now));
    let points: Vec<_> = wanted.map(|step| (step.to_string(), points(step))).collect();
    drop(timeline);
    points.into_iter().map(|(step, points)| (step, columns(points))).collect()
}

fn mark_columns(points: Vec<(u64, MarkPoint)>) -> MarkPoints {
    let mut columns = MarkPoints::default();
    for (ago, MarkPoint { count, max, p99 }) in points {
        columns.ago.push(ago);
        columns.count.push(count);
        columns.max.push(max);
        columns.p99.push(p99);
    }
    columns
}

fn request_columns(points: Vec<(u64, RequestPoint)>) -> RequestPoints {
    let mut columns = RequestPoints::default();
    for (position, outcome) in Outcome::ALL.into_iter().enumerate() {
        let counts: Vec<_> = points.iter().map(|(_, point)| point.outcomes[position]).collect();
        if counts.iter().any(|count| *count > 0) {
            columns.outcomes.insert(outcome.as_str(), counts);
        }
    }
    for (ago, RequestPoint { p50, p99, max, .. }) in points {
        columns.ago.push(ago);
        columns.p50_seconds.push(p50.as_secs_f64());
        columns.p99_seconds.push(p99.as_secs_f64());
        columns.max_seconds.push(max.as_secs_f64());
    }
    columns
}
