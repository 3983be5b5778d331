//! All metrics of the process.

use plimsoll_runtime::engine::PoolUsage;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::batches::BatchMetrics;
use super::deployments::DeploymentMetrics;
use super::process::ProcessMetrics;
use super::requests::RequestMetrics;
use super::stages::{StageFamilies, StageMetrics};
use crate::base::process::ProcessMemory;
use crate::records::key::SeriesKey;

/// All metrics of the process.
pub struct Metrics {
    requests: RequestMetrics,
    stages: StageFamilies,
    deployments: DeploymentMetrics,
    process: ProcessMetrics,
    batches: BatchMetrics,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("plimsoll");
        Self {
            requests: RequestMetrics::register(&mut registry),
            stages: StageFamilies::register(&mut registry),
            deployments: DeploymentMetrics::register(&mut registry),
            process: ProcessMetrics::register(&mut registry),
            batches: BatchMetrics::register(&mut registry),
            registry,
        }
    }

    /// The metrics of model batches.
    pub fn batches(&self) -> BatchMetrics {
        self.batches.clone()
    }

    /// The counter of a route's requests with this outcome.
    pub(crate) fn requests(&self, pipeline: &str, chip: &str, outcome: Outcome) -> Counter {
        self.requests.requests(pipeline, chip, outcome)
    }

    /// The histogram of the durations of a route's requests, in seconds.
    pub(crate) fn request_seconds(&self, pipeline: &str, chip: &str) -> Histogram {
        self.requests.seconds(pipeline, chip)
    }

    /// The metrics of a series.
    pub(crate) fn stage(&self, key: &SeriesKey) -> StageMetrics {
        self.stages.series(key)
    }

    /// The number of live instances of a plugin as a stage of a pipeline.
    pub(crate) fn live(&self, pipeline: &str, stage: StageKind, plugin: &str) -> Gauge {
        self.stages.live(pipeline, stage, plugin)
    }

    /// Removes a series.
    pub(crate) fn remove(&self, key: &SeriesKey) {
        self.stages.remove(key);
    }

    /// Counts the result of a deployment: `serving`, `canary`, `unused`, `unchanged`, `refused`, `promoted`,
    /// `rollback`.
    pub(crate) fn record_deployment(&self, plugin: &str, result: &str) {
        self.deployments.record_deployment(plugin, result);
    }

    /// Counts the result of a new configuration: `served` or `refused`.
    pub(crate) fn record_reload(&self, result: &'static str) {
        self.deployments.record_reload(result);
    }

    /// Updates the process metrics and returns the text of `GET /metrics`.
    pub fn encode(&self, process: &ProcessMemory, pool: Option<&PoolUsage>) -> String {
        self.process.set(process, pool);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}
