//! The metrics of the process and of the instance pools. They are updated when the metrics are read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use plimsoll_runtime::engine::PoolUsage;
use plimsoll_runtime::nn::{BOUND_MEMORY, BoundFigures};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::families::{family, gauge};
use super::named_registry::Registry;
use crate::base::process::{ProcessMemory, ProcessUse};
use crate::records::time::unix_seconds;

/// The metrics of the process and of the instance pools.
pub(super) struct ProcessMetrics {
    resident: Gauge,
    cgroup: Family<CgroupLabels, Gauge>,
    pool_used: Family<PoolLabels, Gauge>,
    pool_unused: Family<PoolLabels, Gauge>,
    cpu: Counter<f64, AtomicU64>,
    threads: Gauge,
    descriptors: Gauge,
    max_descriptors: Gauge,
    bound: Gauge,
    bound_limit: Gauge,
    bound_high_water: Gauge,
    unbound_runs: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CgroupLabels {
    /// `usage` or `limit`.
    what: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    /// The resource: `component_instances`, `memories` …
    what: &'static str,
}

/// The labels of the metric that identifies the program.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

impl ProcessMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let resident = Gauge::default();
        let help = "Resident memory of the process";
        registry.register_with_unit("process_resident", help, Unit::Bytes, resident.clone());
        let cgroup = "Memory of the process's cgroup, and its limit";
        let used = "Slots of the instance pools that are in use";
        let unused = "Bytes that unused slots of the instance pools keep resident";
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(unix_seconds(SystemTime::now()));
        registry.register_with_unit("process_start_time", "When the process started, since 1970", Unit::Seconds, start);
        let cpu = Counter::default();
        let help = "CPU time of the process";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, cpu.clone());
        let mut bytes = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
            gauge
        };
        let bound = bytes("bound_memory", "Memory of libraries to which inputs and outputs of runs are bound");
        let bound_limit = bytes("bound_memory_limit", "The most memory to which runs may be bound");
        let bound_high_water = bytes("bound_memory_high_water", "The most memory to which runs were bound");
        let unbound_runs = Counter::default();
        let help = "Runs in ordinary memory, because the memory to which runs are bound had no room";
        registry.register("unbound_runs", help, unbound_runs.clone());
        let mut plain = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let threads = plain("process_threads", "Threads of the process");
        let descriptors = plain("process_open_fds", "File descriptors that are open");
        let max_descriptors = plain("process_max_fds", "The most file descriptors that may be open");
        let build: Family<BuildLabels, Gauge> = family(registry, "build_info", "The program; always 1", None);
        let labels =
            BuildLabels { version: env!("CARGO_PKG_VERSION"), os: std::env::consts::OS, arch: std::env::consts::ARCH };
        build.get_or_create(&labels).set(1);
        Self {
            cpu,
            threads,
            descriptors,
            max_descriptors,
            bound,
            bound_limit,
            bound_high_water,
            unbound_runs,
            resident,
            cgroup: family(registry, "cgroup_memory", cgroup, Some(Unit::Bytes)),
            pool_used: family(registry, "pool_used", used, None),
            pool_unused: family(registry, "pool_unused", unused, Some(Unit::Bytes)),
        }
    }

    /// Updates the metrics to the given values.
    pub(super) fn set(&self, process: &ProcessMemory, pool: Option<&PoolUsage>) {
        let ProcessMemory { resident_bytes, cgroup_bytes, cgroup_limit_bytes } = process;
        if let Some(bytes) = resident_bytes {
            self.resident.set(gauge(*bytes));
        }
        for (what, bytes) in [("usage", cgroup_bytes), ("limit", cgroup_limit_bytes)] {
            if let Some(bytes) = bytes {
                self.cgroup.get_or_create(&CgroupLabels { what }).set(gauge(*bytes));
            }
        }
        let ProcessUse { cpu, threads, descriptors, max_descriptors } = ProcessUse::now();
        self.cpu.inner().store(cpu.as_secs_f64().to_bits(), Relaxed);
        let counts =
            [(&self.threads, threads), (&self.descriptors, descriptors), (&self.max_descriptors, max_descriptors)];
        for (metric, count) in counts {
            if let Some(count) = count {
                metric.set(gauge(count));
            }
        }
        let BoundFigures { limit, bytes, high_water, unbound_runs } = BOUND_MEMORY.figures();
        for (metric, bytes) in [(&self.bound, bytes), (&self.bound_limit, limit), (&self.bound_high_water, high_water)]
        {
            metric.set(gauge(bytes));
        }
        self.unbound_runs.inner().store(unbound_runs, Relaxed);
        let Some(pool) = pool else { return };
        let PoolUsage { component_instances, core_instances, memories, tables, stacks, .. } = *pool;
        let used = [
            ("component_instances", component_instances),
            ("core_instances", core_instances),
            ("memories", memories),
            ("tables", tables),
            ("stacks", stacks),
        ];
        for (what, count) in used {
            self.pool_used.get_or_create(&PoolLabels { what }).set(gauge(count));
        }
        for (what, bytes) in [("memories", pool.unused_memory_bytes), ("tables", pool.unused_table_bytes)] {
            self.pool_unused.get_or_create(&PoolLabels { what }).set(gauge(bytes));
        }
    }
}
