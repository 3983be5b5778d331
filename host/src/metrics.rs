//! The metrics of `GET /metrics`, in the OpenMetrics text format.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::memory::Key;
use crate::memory::process::{Pool, Process};
use crate::nn::batch::Observer;
use crate::stage::Outcome;

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
    live: Family<LiveLabels, Gauge>,
    resident: Gauge,
    cgroup: Family<CgroupLabels, Gauge>,
    pool: Family<PoolLabels, Gauge>,
    pool_unused: Family<PoolLabels, Gauge>,
    batches: Batches,
}

/// What is counted of the batches of models. A clone counts into the same.
#[derive(Clone)]
pub struct Batches {
    rows: Family<ModelLabels, Histogram>,
    requests: Family<ModelLabels, Counter>,
    waited: Family<ModelLabels, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// The batches of one model.
struct ModelBatches {
    rows: Histogram,
    requests: Counter,
    waited: Histogram,
}

impl Batches {
    /// Who is told of the batches of a model.
    pub fn of_model(&self, model: &str) -> Arc<dyn Observer> {
        let labels = ModelLabels { model: model.to_owned() };
        Arc::new(ModelBatches {
            rows: self.rows.get_or_create_owned(&labels),
            requests: self.requests.get_or_create_owned(&labels),
            waited: self.waited.get_or_create_owned(&labels),
        })
    }
}

impl Observer for ModelBatches {
    fn batch(&self, rows: u32, requests: usize, waited: Duration) {
        self.rows.observe(f64::from(rows));
        self.requests.inc_by(requests as u64);
        self.waited.observe(waited.as_secs_f64());
    }
}

/// What is counted of the runs of one series.
pub(crate) struct StageMetrics {
    pub(crate) seconds: Histogram,
    pub(crate) high_water: Histogram,
    pub(crate) refused: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LiveLabels {
    pipeline: String,
    stage: &'static str,
    plugin: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CgroupLabels {
    /// `usage` or `limit`.
    what: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    /// `component_instances`, `memories` …
    what: &'static str,
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
            pipeline: pipeline.to_string(),
            stage,
            plugin: plugin.to_string(),
            version: version.to_string(),
            digest: digest[..12].to_owned(),
            chip: chip.to_string(),
            outcome: outcome.as_str(),
        }
    }
}

/// 0.1 ms to 13 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 18))
}

/// 1 to 512 rows.
fn rows() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 10))
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
            live: Family::default(),
            resident: Gauge::default(),
            cgroup: Family::default(),
            pool: Family::default(),
            pool_unused: Family::default(),
            batches: Batches {
                rows: Family::new_with_constructor(rows),
                requests: Family::default(),
                waited: Family::new_with_constructor(seconds),
            },
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
        registry.register("stage_live_instances", "Instances that are live now", this.live.clone());
        registry.register_with_unit(
            "process_resident",
            "Resident memory of the process",
            Unit::Bytes,
            this.resident.clone(),
        );
        registry.register_with_unit(
            "cgroup_memory",
            "Memory of the process's cgroup, and its limit",
            Unit::Bytes,
            this.cgroup.clone(),
        );
        registry.register("pool_used", "What of the pool of instances is in use", this.pool.clone());
        registry.register_with_unit(
            "pool_unused",
            "Bytes that unused parts of the pool keep resident",
            Unit::Bytes,
            this.pool_unused.clone(),
        );
        let Batches { rows, requests, waited } = this.batches.clone();
        registry.register("model_batch_rows", "Rows of a batch of a model", rows);
        registry.register("model_batched_requests", "Runs that were made in batches", requests);
        registry.register_with_unit(
            "model_batch_wait",
            "How long the first request of a batch had waited",
            Unit::Seconds,
            waited,
        );
        Self { registry, ..this }
    }

    /// Where the batches of models are counted.
    pub fn batches(&self) -> Batches {
        self.batches.clone()
    }

    /// The counter of a route's requests that ended so.
    pub(crate) fn requests(&self, pipeline: &str, chip: &str, outcome: Outcome) -> Counter {
        let labels = RequestLabels { pipeline: pipeline.to_owned(), chip: chip.to_owned(), outcome: outcome.as_str() };
        self.requests.get_or_create_owned(&labels)
    }

    /// The times of a route's requests.
    pub(crate) fn request_seconds(&self, pipeline: &str, chip: &str) -> Histogram {
        let labels = PipelineLabels { pipeline: pipeline.to_owned(), chip: chip.to_owned() };
        self.request_seconds.get_or_create_owned(&labels)
    }

    /// What is counted of a series.
    pub(crate) fn stage(&self, key: &Key) -> StageMetrics {
        let labels = StageLabels::of(key);
        StageMetrics {
            seconds: self.stage_seconds.get_or_create_owned(&labels),
            high_water: self.high_water.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
        }
    }

    /// The live instances of a plugin as a stage of a pipeline.
    pub(crate) fn live(&self, pipeline: &str, stage: &'static str, plugin: &str) -> Gauge {
        let labels = LiveLabels { pipeline: pipeline.to_owned(), stage, plugin: plugin.to_owned() };
        self.live.get_or_create_owned(&labels)
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
    pub fn encode(&self, process: &Process, pool: Option<&Pool>) -> String {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let Process { resident_bytes, cgroup_bytes, cgroup_limit_bytes } = process;
        if let Some(bytes) = resident_bytes {
            self.resident.set(gauge(*bytes));
        }
        for (what, bytes) in [("usage", cgroup_bytes), ("limit", cgroup_limit_bytes)] {
            if let Some(bytes) = bytes {
                self.cgroup.get_or_create(&CgroupLabels { what }).set(gauge(*bytes));
            }
        }
        if let Some(pool) = pool {
            let Pool { component_instances, core_instances, memories, tables, stacks, .. } = *pool;
            let used = [
                ("component_instances", component_instances),
                ("core_instances", core_instances),
                ("memories", memories),
                ("tables", tables),
                ("stacks", stacks),
            ];
            for (what, count) in used {
                self.pool.get_or_create(&PoolLabels { what }).set(gauge(count));
            }
            for (what, bytes) in [("memories", pool.unused_memory_bytes), ("tables", pool.unused_table_bytes)] {
                self.pool_unused.get_or_create(&PoolLabels { what }).set(gauge(bytes));
            }
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}
