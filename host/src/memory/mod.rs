//! The memory report: high-water marks by pipeline, stage, plugin, version, chip and outcome, beside the
//! resident memory of the process. What must stay flat is the latter; the former says who needs how much.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::metrics::Metrics;
use crate::plugin::Identity;
use crate::stage::Outcome;
use crate::trace::StageReport;

/// What high-water marks are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// The pipeline's name.
    pub pipeline: String,
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
    /// SHA-256 of the plugin, hexadecimal: two builds may call themselves by one version.
    pub digest: Arc<str>,
    /// The chip that the request was routed to.
    pub chip: String,
    /// How the stage ended.
    pub outcome: Outcome,
}

/// Collects what every stage run needed, since start.
pub struct Recorder {
    started: Instant,
    marks: Mutex<BTreeMap<Key, Marks>>,
    /// The same events for Prometheus.
    pub metrics: Metrics,
}

struct Marks {
    /// High-water marks in 64 KiB pages. Linear memory is a whole number of them, so nothing is lost but
    /// above two significant digits; the maximum is kept apart in bytes and exact.
    pages: Histogram<u64>,
    max: u64,
    initial: u64,
    grown_max: u64,
    refused: u64,
    host_max: u64,
}

const PAGE: u64 = 64 << 10;
/// Four memories of 4 GiB.
const MAX_PAGES: u64 = 4 << 16;

/// The body of `GET /v1/memory`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Seconds since start.
    pub uptime_seconds: f64,
    /// The process as the operating system sees it.
    pub process: Process,
    /// One row for each combination that has occurred.
    pub stages: Vec<Row>,
}

/// The process's memory in bytes.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Resident memory; absent where the operating system does not tell.
    pub resident_bytes: Option<u64>,
}

/// High-water marks of one combination, in bytes.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The combination.
    #[serde(flatten)]
    pub key: Key,
    /// Stage runs.
    pub count: u64,
    /// Most linear memory of the latest run right after instantiation.
    pub initial: u64,
    /// Highest mark; exact.
    pub max: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest growth over `initial`.
    pub grown_max: u64,
    /// Growths that the cap refused.
    pub refused_growths: u64,
    /// Most bytes of tensors that the host held for one run.
    pub host_max: u64,
}

impl Recorder {
    /// An empty record.
    pub fn new() -> Self {
        Self { started: Instant::now(), marks: Mutex::default(), metrics: Metrics::new() }
    }

    /// Counts one stage run.
    pub fn stage(&self, key: Key, report: &StageReport) {
        self.metrics.stage(&key, report);
        let usage = &report.usage;
        let mut marks = self.marks.lock().expect("no holder panics");
        let entry = marks.entry(key).or_insert_with(|| Marks {
            pages: Histogram::new_with_bounds(1, MAX_PAGES, 2).expect("valid bounds"),
            max: 0,
            initial: 0,
            grown_max: 0,
            refused: 0,
            host_max: 0,
        });
        entry.pages.saturating_record(usage.high_water.div_ceil(PAGE));
        entry.max = entry.max.max(usage.high_water);
        entry.initial = usage.initial;
        entry.grown_max = entry.grown_max.max(usage.high_water - usage.initial.min(usage.high_water));
        entry.refused += usage.refused;
        entry.host_max = entry.host_max.max(usage.host);
    }

    /// Counts one request.
    pub fn request(&self, pipeline: &str, chip: &str, outcome: Outcome, duration: Duration) {
        self.metrics.request(pipeline, chip, outcome, duration);
    }

    /// Drops what is known of a version that is gone for good: there may be any number of them.
    pub fn forget(&self, plugin: &Identity) {
        let mut marks = self.marks.lock().expect("no holder panics");
        for (key, _) in marks.extract_if(.., |key, _| key.plugin == plugin.name && key.digest == plugin.digest) {
            self.metrics.forget(&key);
        }
    }

    /// The report as of now.
    pub fn report(&self) -> Report {
        let marks = self.marks.lock().expect("no holder panics");
        let stages = marks
            .iter()
            .map(|(key, marks)| {
                let quantile = |q| (marks.pages.value_at_quantile(q) * PAGE).min(marks.max);
                Row {
                    key: key.clone(),
                    count: marks.pages.len(),
                    initial: marks.initial,
                    max: marks.max,
                    p50: quantile(0.5),
                    p90: quantile(0.9),
                    p99: quantile(0.99),
                    grown_max: marks.grown_max,
                    refused_growths: marks.refused,
                    host_max: marks.host_max,
                }
            })
            .collect();
        Report { uptime_seconds: self.started.elapsed().as_secs_f64(), process: process(), stages }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// The process's memory as of now.
pub fn process() -> Process {
    Process { resident_bytes: memory_stats::memory_stats().map(|stats| stats.physical_mem as u64) }
}
