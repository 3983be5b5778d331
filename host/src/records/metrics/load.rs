//! How much of the host is in use, with the limits: requests, byte budgets and connections. The server sets these metrics
//! when they are read.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::families::{family, gauge};
use super::named_registry::Registry;

/// How much of the host is in use.
pub struct HostLoad {
    /// The pipelines that are served.
    pub pipelines: Vec<PipelineLoad>,
    /// The limits on requests: how many run at once (`server.max_concurrency`), and how many wait (`server.max_queue`).
    pub limits: RunLimits<u32>,
    /// The byte budgets: `bodies`, `uploads` and `replies`.
    pub budgets: [(&'static str, Used); 3],
    /// The connections of `callers` and of `administration`.
    pub connections: [(&'static str, Used); 2],
}

/// The requests of a pipeline.
pub struct PipelineLoad {
    /// The pipeline.
    pub name: String,
    /// Requests that run.
    pub running: usize,
    /// Requests that wait for a slot to run.
    pub waiting: usize,
    /// The pipeline's own limits; `None` for a fair share.
    pub limits: RunLimits<Option<u32>>,
}

/// The limits on requests.
pub struct RunLimits<T> {
    /// Requests that run.
    pub running: T,
    /// Requests that wait.
    pub waiting: T,
}

/// How much of something is in use, and the most that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// In use.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// The metrics of the load.
pub(super) struct LoadMetrics {
    running: Family<PipelineLabels, Gauge>,
    waiting: Family<PipelineLabels, Gauge>,
    limits: RunLimits<Gauge>,
    pipeline_limits: RunLimits<Family<PipelineLabels, Gauge>>,
    budgets: UsedFamilies<BudgetLabels>,
    connections: UsedFamilies<ConnectionLabels>,
    /// The pipelines that have series.
    pipelines: Mutex<BTreeSet<String>>,
}

/// What is in use, and the limits.
struct UsedFamilies<L: Clone + Hash + Eq> {
    used: Family<L, Gauge>,
    limit: Family<L, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BudgetLabels {
    budget: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConnectionLabels {
    of: &'static str,
}

impl LoadMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let limits = RunLimits { running: Gauge::default(), waiting: Gauge::default() };
        let help = "The most requests that run at once (`server.max_concurrency`)";
        registry.register("requests_running_limit", help, limits.running.clone());
        let help = "The most requests that wait (`server.max_queue`)";
        registry.register("requests_waiting_limit", help, limits.waiting.clone());
        Self {
            running: family(registry, "requests_running", "Requests that run", None),
            waiting: family(registry, "requests_waiting", "Requests that wait for a slot to run", None),
            limits,
            pipeline_limits: RunLimits {
                running: family(
                    registry,
                    "pipeline_requests_running_limit",
                    "The most requests of a pipeline that run at once, if it has a limit of its own",
                    None,
                ),
                waiting: family(
                    registry,
                    "pipeline_requests_waiting_limit",
                    "The most requests of a pipeline that wait, if it has a limit of its own",
                    None,
                ),
            },
            budgets: UsedFamilies {
                used: family(registry, "budget_used", "Bytes of a byte budget that are in use", Some(Unit::Bytes)),
                limit: family(registry, "budget_limit", "The size of a byte budget", Some(Unit::Bytes)),
            },
            connections: UsedFamilies {
                used: family(registry, "connections", "Open connections", None),
                limit: family(registry, "connections_limit", "The most connections that are open at once", None),
            },
            pipelines: Mutex::default(),
        }
    }

    /// Sets the metrics. Removes the series of pipelines that are gone.
    pub(super) fn set(&self, load: &HostLoad) {
        self.limits.running.set(load.limits.running.into());
        self.limits.waiting.set(load.limits.waiting.into());
        for (budget, used) in load.budgets {
            self.budgets.set(&BudgetLabels { budget }, used);
        }
        for (of, used) in load.connections {
            self.connections.set(&ConnectionLabels { of }, used);
        }
        let mut known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let served: BTreeSet<String> = load.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
        for gone in known.difference(&served) {
            let labels = PipelineLabels { pipeline: gone.clone() };
            for family in [&self.running, &self.waiting, &self.pipeline_limits.running, &self.pipeline_limits.waiting] {
                family.remove(&labels);
            }
        }
        *known = served;
        for PipelineLoad { name, running, waiting, limits } in &load.pipelines {
            let labels = PipelineLabels { pipeline: name.clone() };
            self.running.get_or_create(&labels).set(gauge(*running as u64));
            self.waiting.get_or_create(&labels).set(gauge(*waiting as u64));
            let own =
                [(&self.pipeline_limits.running, limits.running), (&self.pipeline_limits.waiting, limits.waiting)];
            for (family, limit) in own {
                match limit {
                    Some(limit) => drop(family.get_or_create(&labels).set(limit.into())),
                    None => drop(family.remove(&labels)),
                }
            }
        }
    }
}

impl<L: Clone + Hash + Eq> UsedFamilies<L> {
    fn set(&self, labels: &L, used: Used) {
        self.used.get_or_create(labels).set(gauge(used.used));
        self.limit.get_or_create(labels).set(gauge(used.limit));
    }
}
