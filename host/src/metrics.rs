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
    resident: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    pipeline: String,
    chip: String,
    outcome: &'static str,
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
    chip: String,
    outcome: &'static str,
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
        let Key { pipeline, stage, plugin, version, chip, outcome } = key;
        let labels = StageLabels {
            pipeline: pipeline.clone(),
            stage,
            plugin: plugin.to_string(),
            version: version.to_string(),
            chip: chip.clone(),
            outcome: outcome.as_str(),
        };
        self.stage_seconds.get_or_create(&labels).observe(report.duration.as_secs_f64());
        self.high_water.get_or_create(&labels).observe(report.usage.high_water as f64);
        self.refused.get_or_create(&labels).inc_by(report.usage.refused);
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
