//! The bodies of `GET /v1/memory`: JSON for programs and people, CSV for time series.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use plimsoll_runtime::engine::PoolUsage;
use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::nn::{BOUND_MEMORY, BoundFigures};
use plimsoll_runtime::outcome::Outcome;
use serde::Serialize;

use super::advice::{Advice, Needs};
use super::callers::{CallerReport, OTHERS, OTHERS_ID};
use super::compare::{Comparison, Factor, Sample, compare};
use super::marks::{Figures, Windows};
use super::stats::MemoryStats;
use crate::base::process::{ProcessMemory, process_memory};
use crate::records::key::SeriesKey;
use crate::records::metrics::ModelMemoryRow;
use crate::records::time::timestamp;

/// The body of `GET /v1/memory`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The time of the report: RFC 3339, UTC.
    pub time: String,
    /// Seconds since start.
    pub uptime_seconds: f64,
    /// The process as the operating system sees it.
    pub process: ProcessMemory,
    /// The instance pool. Absent if instances are allocated on demand.
    pub pool: Option<PoolUsage>,
    /// Instances that are live now, by pipeline, stage and plugin.
    pub live: Vec<Live>,
    /// One row for each series that has occurred.
    pub stages: Vec<Row>,
    /// What the models of all pipelines hold on their devices.
    pub models: Vec<ModelMemoryRow>,
    /// The memory of libraries to which inputs and outputs of runs are bound, of all models.
    pub bound: BoundFigures,
    /// The callers that cause the most memory growth and the most requests, in all pipelines.
    pub callers: CallerReport,
    /// The recommended cap of each stage.
    pub advice: Vec<Advice>,
}

/// Live instances of a plugin as a stage of a pipeline, in all versions and on all chips.
#[derive(Debug, Serialize)]
pub struct Live {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The stage.
    pub stage: StageName,
    /// The plugin.
    pub plugin: Arc<str>,
    /// The number of live instances.
    pub instances: i64,
}

/// High-water marks of one series, in bytes.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The series.
    #[serde(flatten)]
    pub key: SeriesKey,
    /// The figures since start.
    #[serde(flatten)]
    pub figures: Figures,
    /// Linear memory of the latest run after instantiation.
    pub initial: u64,
    /// Largest growth over `initial`.
    pub grown_max: u64,
    /// Number of growths that the cap refused.
    pub refused_growths: u64,
    /// Maximum bytes of tensors that the host held for one run.
    pub host_max: u64,
    /// Maximum number of resources (tensors, streams …) that one run left in the host's table for its store.
    pub resources_max: u64,
    /// The cap of the latest run.
    pub max_memory: u64,
    /// The same figures over the last minute, ten minutes and hour.
    pub windows: Windows,
    /// The marks since start, if they were asked for: pages and the number of runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<Vec<[u64; 2]>>,
}

impl MemoryStats {
    /// Returns the rows at the time `now`, of one pipeline or of all, also with all marks.
    pub fn rows(&self, pipeline: Option<&str>, now: Instant, with_marks: bool) -> Vec<Row> {
        let now = self.seconds(now);
        let mut rows = Vec::new();
        for route in self.routes().iter().filter(|route| pipeline.is_none_or(|name| *route.pipeline == *name)) {
            for stage in route.stages() {
                for (outcome, series) in stage.series() {
                    let marks = &series.lock().marks;
                    rows.push(Row {
                        key: route.key(&stage, outcome),
                        figures: marks.since_start(),
                        initial: marks.initial,
                        grown_max: marks.grown_max,
                        refused_growths: marks.refused,
                        host_max: marks.host_max,
                        resources_max: marks.resources_max,
                        max_memory: stage.max_memory.load(Relaxed),
                        windows: marks.windows(now),
                        marks: with_marks.then(|| marks.recorded()),
                    });
                }
            }
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// Returns the report at the time `now`, of one pipeline or of all, also with all marks. The parts about models and callers always cover
    /// all pipelines.
    pub fn report(&self, pool: Option<PoolUsage>, pipeline: Option<&str>, now: Instant, with_marks: bool) -> Report {
        Report {
            time: timestamp(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs_f64(),
            process: process_memory(),
            pool,
            live: self.live(pipeline),
            stages: self.rows(pipeline, now, with_marks),
            models: self.metrics.model_memory().rows(),
            bound: BOUND_MEMORY.figures(),
            callers: self.callers.report(&self.caller_header),
            advice: self.advice(pipeline),
        }
    }

    /// Compares the memory that the levels of a factor needed and explains the differences, in one pipeline or in all.
    pub fn compare(&self, by: Factor, pipeline: Option<&str>) -> Comparison {
        let names = self.callers.names();
        let others: Arc<str> = OTHERS.into();
        let mut outcomes: HashMap<Outcome, Arc<str>> = HashMap::new();
        let mut samples = Vec::new();
        for route in self.routes().iter().filter(|route| pipeline.is_none_or(|name| *route.pipeline == *name)) {
            for stage in route.stages() {
                let plugin = &stage.plugin;
                let version: Arc<str> = format!("{}@{}+{}", plugin.name, plugin.version, &plugin.digest[..12]).into();
                for (outcome, series) in stage.series() {
                    let outcome = outcomes.entry(outcome).or_insert_with(|| outcome.as_str().into());
                    for (caller, cell) in &series.lock().cells {
                        // A caller that was just dropped from the lists is counted with the others.
                        let caller = names.get(caller).filter(|_| *caller != OTHERS_ID).unwrap_or(&others);
                        samples.push(Sample {
                            pipeline: Arc::clone(&route.pipeline),
                            stage: stage.stage.clone(),
                            plugin: Arc::clone(&plugin.name),
                            levels: [&route.chip, &version, caller, outcome].map(Arc::clone),
                            cell: *cell,
                        });
                    }
                }
            }
        }
        compare(by, &samples)
    }

    fn live(&self, pipeline: Option<&str>) -> Vec<Live> {
        let mut live = BTreeMap::new();
        for route in self.routes().iter().filter(|route| pipeline.is_none_or(|name| *route.pipeline == *name)) {
            for series in route.stages() {
                let key = (Arc::clone(&route.pipeline), series.stage.clone(), Arc::clone(&series.plugin.name));
                live.insert(key, series.live.get());
            }
        }
        live.into_iter()
            .map(|((pipeline, stage, plugin), instances)| Live { pipeline, stage, plugin, instances })
            .collect()
    }

    /// One entry for each version of each stage; for infer stages, also for each chip.
    fn advice(&self, pipeline: Option<&str>) -> Vec<Advice> {
        let mut needs: BTreeMap<_, (Needs, u64)> = BTreeMap::new();
        for route in self.routes().iter().filter(|route| pipeline.is_none_or(|name| *route.pipeline == *name)) {
            for stage in route.stages() {
                let chip = (stage.stage.kind() == StageKind::Infer).then(|| route.chip.to_string());
                let plugin = &stage.plugin;
                let plugin = [&plugin.name, &plugin.version, &plugin.digest].map(|text| text.to_string());
                let key = (route.pipeline.to_string(), stage.stage.clone(), chip, plugin);
                let (needs, cap) = needs.entry(key).or_default();
                *cap = stage.max_memory.load(Relaxed);
                let counts = |outcome| !matches!(outcome, Outcome::Cancelled | Outcome::NoCapacity);
                for (outcome, series) in stage.series().filter(|(outcome, _)| counts(*outcome)) {
                    let marks = &series.lock().marks;
                    marks.add_to(&mut needs.pages);
                    needs.max = needs.max.max(marks.max);
                    if outcome == Outcome::MemoryLimit {
                        needs.limit_met += marks.since_start().count;
                    }
                }
            }
        }
        let known = needs.into_iter().filter(|(_, (needs, _))| needs.figures().0 > 0);
        known
            .map(|((pipeline, stage, chip, [plugin, version, digest]), (needs, cap))| {
                let (runs, p999) = needs.figures();
                let Needs { max, limit_met, .. } = needs;
                let (max_memory, recommended, warning) = (cap, 0, None);
                let is_step = stage.is_step();
                let stage = stage.to_string();
                let advice = Advice {
                    pipeline,
                    stage,
                    is_step,
                    chip,
                    plugin,
                    version,
                    digest,
                    runs,
                    p999,
                    max,
                    limit_met,
                    max_memory,
                    recommended,
                    warning,
                };
                advice.judged(cap)
            })
            .collect()
    }
}

impl Report {
    /// Returns the rows as CSV. Each line contains the time and the memory of the process, so the lines of several
    /// reports form a time series. Sizes are in bytes.
    #[expect(clippy::expect_used, reason = "a writer to memory does not fail, and every cell is text")]
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header: Vec<String> = [
            "time",
            "pipeline",
            "stage",
            "plugin",
            "version",
            "digest",
            "chip",
            "outcome",
            "count",
            "initial",
            "max",
            "p50",
            "p90",
            "p99",
            "grown_max",
            "refused_growths",
            "host_max",
            "resources_max",
            "max_memory",
        ]
        .map(str::to_owned)
        .to_vec();
        for (window, _, _) in super::marks::WINDOWS {
            header.extend(["count", "max", "p50", "p90", "p99"].map(|figure| format!("{figure}_{window}")));
        }
        header.extend(["resident_bytes", "cgroup_bytes"].map(str::to_owned));
        let absent = |bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| bytes.to_string());
        let mut lines = vec![header];
        for row in &self.stages {
            let SeriesKey { pipeline, stage, plugin, version, digest, chip, outcome } = &row.key;
            let names = [self.time.as_str(), pipeline, stage.as_str(), plugin, version, digest, chip, outcome.as_str()];
            let mut line: Vec<String> = names.map(str::to_owned).to_vec();
            let Figures { count, max, p50, p90, p99 } = row.figures;
            let since_start = [
                count,
                row.initial,
                max,
                p50,
                p90,
                p99,
                row.grown_max,
                row.refused_growths,
                row.host_max,
                row.resources_max,
                row.max_memory,
            ];
            line.extend(since_start.map(|number| number.to_string()));
            let Windows { minute, ten_minutes, hour } = row.windows;
            for Figures { count, max, p50, p90, p99 } in [minute, ten_minutes, hour] {
                line.extend([count, max, p50, p90, p99].map(|number| number.to_string()));
            }
            line.extend([self.process.resident_bytes, self.process.cgroup_bytes].map(absent));
            lines.push(line);
        }
        for line in lines {
            writer.write_record(line).expect("writing to memory does not fail");
        }
        String::from_utf8(writer.into_inner().expect("writing to memory does not fail"))
            .expect("every field is a string")
    }
}
