//! All metrics of the process.

use plimsoll_runtime::engine::PoolUsage;
use plimsoll_runtime::kind::StageName;
use plimsoll_runtime::outcome::Outcome;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::authentication::AuthenticationMetrics;
use super::batches::BatchMetrics;
use super::deployments::DeploymentMetrics;
use super::families::{Buckets, seconds_bounds};
use super::faults::{FaultMetrics, TaskPanics};
use super::load::{HostLoad, LoadMetrics};
use super::model_memory::ModelMemory;
use super::named_registry::{MetricDescription, Registry};
use super::peers::PeerMetrics;
use super::process::ProcessMetrics;
use super::requests::RequestMetrics;
use super::shadows::ShadowMetrics;
use super::stage_marks::{MarkMetrics, StageMark};
use super::stages::{StageFamilies, StageMetrics};
use super::traces::{SpanCounts, TracedHistogram};
use crate::base::process::ProcessMemory;
use crate::records::key::SeriesKey;

/// All metrics of the process.
pub struct Metrics {
    requests: RequestMetrics,
    stages: StageFamilies,
    deployments: DeploymentMetrics,
    authentication: AuthenticationMetrics,
    process: ProcessMetrics,
    batches: BatchMetrics,
    model_memory: ModelMemory,
    shadows: ShadowMetrics,
    faults: FaultMetrics,
    load: LoadMetrics,
    marks: MarkMetrics,
    spans: SpanCounts,
    peers: PeerMetrics,
    registry: Registry,
}

impl Metrics {
    /// `has_exemplars`: buckets name traces.
    pub(crate) fn new(buckets: Buckets, has_exemplars: bool) -> Self {
        let mut registry = Registry::new();
        let faults = FaultMetrics::register(&mut registry);
        Self {
            requests: RequestMetrics::register(&mut registry, seconds_bounds(buckets), has_exemplars),
            stages: StageFamilies::register(&mut registry, buckets, has_exemplars),
            deployments: DeploymentMetrics::register(&mut registry),
            authentication: AuthenticationMetrics::register(&mut registry),
            process: ProcessMetrics::register(&mut registry),
            batches: BatchMetrics::register(&mut registry, buckets, faults.tasks.clone()),
            model_memory: ModelMemory::register(&mut registry),
            shadows: ShadowMetrics::register(&mut registry, buckets),
            load: LoadMetrics::register(&mut registry),
            marks: MarkMetrics::register(&mut registry),
            spans: SpanCounts::register(&mut registry),
            peers: PeerMetrics::register(&mut registry),
            faults,
            registry,
        }
    }

    /// All metrics, also those that have no series yet.
    pub fn list(&self) -> &[MetricDescription] {
        &self.registry.metrics
    }

    /// The metrics of model batches.
    pub fn batches(&self) -> BatchMetrics {
        self.batches.clone()
    }

    /// The memory of models on their devices.
    pub fn model_memory(&self) -> ModelMemory {
        self.model_memory.clone()
    }

    /// The metrics of shadow runs.
    pub(in crate::records) fn shadows(&self) -> &ShadowMetrics {
        &self.shadows
    }

    /// The spans of traces.
    pub(in crate::records) fn spans(&self) -> SpanCounts {
        self.spans.clone()
    }

    /// The panics of background tasks.
    pub(crate) fn task_panics(&self) -> TaskPanics {
        self.faults.tasks.clone()
    }

    /// Counts a request whose handler panicked.
    pub(crate) fn record_handler_panic(&self) {
        self.faults.record_handler_panic();
    }

    /// The counter of a route's requests with this outcome.
    pub(crate) fn requests(&self, pipeline: &str, chip: &str, outcome: Outcome) -> Counter {
        self.requests.requests(pipeline, chip, outcome)
    }

    /// The histogram of the durations of a route's requests, in seconds.
    pub(crate) fn request_seconds(&self, pipeline: &str, chip: &str) -> TracedHistogram {
        self.requests.seconds(pipeline, chip)
    }

    /// The histogram of the times that requests of a pipeline waited for a slot, in seconds.
    pub(crate) fn queue_seconds(&self, pipeline: &str) -> TracedHistogram {
        self.requests.queue_seconds(pipeline)
    }

    /// The metrics of a series.
    pub(crate) fn stage(&self, key: &SeriesKey) -> StageMetrics {
        self.stages.series(key)
    }

    /// The number of live instances of a plugin as a stage of a pipeline.
    pub(crate) fn live(&self, pipeline: &str, stage: &StageName, plugin: &str) -> Gauge {
        self.stages.live(pipeline, stage, plugin)
    }

    /// Removes a series.
    pub(crate) fn remove(&self, key: &SeriesKey) {
        self.stages.remove(key);
    }

    /// Removes the requests of a pipeline on a chip.
    pub(crate) fn remove_route(&self, pipeline: &str, chip: &str) {
        self.requests.remove(pipeline, chip);
    }

    /// Removes the metrics of a pipeline that is gone.
    pub(crate) fn remove_pipeline(&self, pipeline: &str) {
        self.requests.remove_pipeline(pipeline);
    }

    /// Removes the number of live instances of a plugin as a stage of a pipeline.
    pub(crate) fn remove_live(&self, pipeline: &str, stage: &StageName, plugin: &str) {
        self.stages.remove_live(pipeline, stage, plugin);
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

    /// Records that the configuration of the start is served.
    pub(crate) fn record_start(&self) {
        self.deployments.set_served(true);
        self.deployments.record_scan();
    }

    /// Records that the plugin folder and the configuration file were scanned.
    pub(crate) fn record_scan(&self) {
        self.deployments.record_scan();
    }

    /// Removes the counters of a plugin that is gone. Without this, memory would grow with every plugin.
    pub(crate) fn remove_plugin(&self, plugin: &str) {
        self.deployments.remove_plugin(plugin);
    }

    /// Sets how many folders and files of plugins cannot be read, and counts a scan that failed.
    pub(crate) fn set_unreadable(&self, count: usize, has_failed: bool) {
        self.deployments.set_unreadable(count, has_failed);
    }

    /// Records whether a restart would restore the current deployments.
    pub(crate) fn record_journal(&self, is_durable: bool) {
        self.deployments.record_journal(is_durable);
    }

    /// Counts a request whose credentials were refused. `realm` is `administration`, `callers` or `clients` (certificates);
    /// `reason` is `missing`, `wrong` or `ambiguous`.
    pub(crate) fn record_authentication_failure(&self, realm: &'static str, reason: &'static str) {
        self.authentication.record_failure(realm, reason);
    }

    /// Sets whether another server of the fleet answers.
    pub(crate) fn set_peer(&self, peer: &str, is_up: bool) {
        self.peers.set(peer, is_up);
    }

    /// Sets how much of the host is in use.
    pub(crate) fn set_load(&self, load: &HostLoad) {
        self.load.set(load);
    }

    /// Sets the highest marks of the stages.
    pub(crate) fn set_marks(&self, marks: Vec<StageMark>) {
        self.marks.set(marks);
    }

    /// Updates the metrics of the process and of models, and returns the text of `GET /metrics`.
    #[expect(clippy::expect_used, reason = "writing to a string does not fail")]
    pub fn encode(&self, process: &ProcessMemory, pool: Option<&PoolUsage>) -> String {
        self.process.set(process, pool);
        self.model_memory.update();
        self.batches.devices.update(&self.model_memory.loaded());
        self.faults.update();
        let mut text = String::new();
        encode(&mut text, &self.registry.encoded).expect("writing to a string does not fail");
        text
    }
}
