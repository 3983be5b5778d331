//! The metrics of `GET /metrics`, in the OpenMetrics text format.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::memory::Key;
use crate::stage::Outcome;
use crate::trace::StageReport;

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<PipelineLabels, Histogram>,
    stage_seconds: Family<StageLabels, Histogram>,
    high_water: Family<StageLabels, Histogram>,
    refused: Family<StageLabels, Counter>,
    deployments: Family<DeploymentLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    resident: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    pipeline: String,
    chip: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeploymentLabels {
    plugin: String,
    result: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: String,
    chip: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    pipeline: String,
    stage: &'static str,
    plugin: String,
    version: String,
    /// The first twelve digits of the SHA-256.
    digest: String,
    chip: String,
    outcome: &'static str,
}

impl StageLabels {
    fn of(key: &Key) -> Self {
        let Key { pipeline, stage, plugin, version, digest, chip, outcome } = key;
        Self {
            pipeline: pipeline.clone(),
            stage,
            plugin: plugin.to_string(),
            version: version.to_string(),
            digest: digest[..12].to_owned(),
            chip: chip.clone(),
            outcome: outcome.as_str(),
        }
    }
}

/// 0.1 ms to 13 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 18))
}

/// 64 KiB to 4 GiB, the range of a linear memory.
fn bytes() -> Histogram {
    Histogram::new(exponential_buckets(65536.0, 2.0, 17))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("plimsoll");
        let this = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            stage_seconds: Family::new_with_constructor(seconds),
            high_water: Family::new_with_constructor(bytes),
            refused: Family::default(),
            deployments: Family::default(),
            reloads: Family::default(),
            resident: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests by outcome", this.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time of a request",
            Unit::Seconds,
            this.request_seconds.clone(),
        );
        registry.register_with_unit("stage_duration", "Time of a stage run", Unit::Seconds, this.stage_seconds.clone());
        registry.register_with_unit(
            "stage_high_water",
            "High-water mark of linear memory of a stage run",
            Unit::Bytes,
            this.high_water.clone(),
        );
        registry.register("stage_refused_growths", "Growths refused by the memory cap", this.refused.clone());
        registry.register("deployments", "Deployments of plugins by what became of them", this.deployments.clone());
        registry.register("config_reloads", "New configurations by what became of them", this.reloads.clone());
        registry.register_with_unit(
            "process_resident",
            "Resident memory of the process",
            Unit::Bytes,
            this.resident.clone(),
        );
        Self { registry, ..this }
    }

    pub(crate) fn request(&self, pipeline: &str, chip: &str, outcome: Outcome, duration: Duration) {
        let (pipeline, chip) = (pipeline.to_owned(), chip.to_owned());
        let labels = PipelineLabels { pipeline: pipeline.clone(), chip: chip.clone() };
        self.request_seconds.get_or_create(&labels).observe(duration.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { pipeline, chip, outcome: outcome.as_str() }).inc();
    }

    pub(crate) fn stage(&self, key: &Key, report: &StageReport) {
        let labels = StageLabels::of(key);
        self.stage_seconds.get_or_create(&labels).observe(report.duration.as_secs_f64());
        self.high_water.get_or_create(&labels).observe(report.usage.high_water as f64);
        self.refused.get_or_create(&labels).inc_by(report.usage.refused);
    }

    /// Drops the series of a version that is gone.
    pub(crate) fn forget(&self, key: &Key) {
        let labels = StageLabels::of(key);
        self.stage_seconds.remove(&labels);
        self.high_water.remove(&labels);
        self.refused.remove(&labels);
    }

    /// Counts what became of a release: `serving`, `canary`, `unused`, `unchanged`, `refused`, `promoted`, `rollback`.
    pub(crate) fn deployment(&self, plugin: &str, result: &str) {
        let labels = DeploymentLabels { plugin: plugin.to_owned(), result: result.to_owned() };
        self.deployments.get_or_create(&labels).inc();
    }

    /// Counts what became of a new configuration: `served` or `refused`.
    pub(crate) fn reload(&self, result: &'static str) {
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// The text of `GET /metrics`.
    pub fn encode(&self) -> String {
        if let Some(bytes) = crate::memory::process().resident_bytes {
            self.resident.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}
