//! The metrics of the process and of the instance pool. They are updated when the metrics are read.

use plimsoll_runtime::engine::PoolUsage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::families::family;
use super::named_registry::Registry;
use crate::base::process::ProcessMemory;

/// The metrics of the process and of the instance pool.
pub(super) struct ProcessMetrics {
    resident: Gauge,
    cgroup: Family<CgroupLabels, Gauge>,
    pool_used: Family<PoolLabels, Gauge>,
    pool_unused: Family<PoolLabels, Gauge>,
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

impl ProcessMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let resident = Gauge::default();
        let help = "Resident memory of the process";
        registry.register_with_unit("process_resident", help, Unit::Bytes, resident.clone());
        let cgroup = "Memory of the process's cgroup, and its limit";
        let used = "Slots of the instance pool that are in use";
        let unused = "Bytes that unused slots of the instance pool keep resident";
        Self {
            resident,
            cgroup: family(registry, "cgroup_memory", cgroup, Some(Unit::Bytes)),
            pool_used: family(registry, "pool_used", used, None),
            pool_unused: family(registry, "pool_unused", unused, Some(Unit::Bytes)),
        }
    }

    /// Updates the metrics to the given values.
    pub(super) fn set(&self, process: &ProcessMemory, pool: Option<&PoolUsage>) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let ProcessMemory { resident_bytes, cgroup_bytes, cgroup_limit_bytes } = process;
        if let Some(bytes) = resident_bytes {
            self.resident.set(gauge(*bytes));
        }
        for (what, bytes) in [("usage", cgroup_bytes), ("limit", cgroup_limit_bytes)] {
            if let Some(bytes) = bytes {
                self.cgroup.get_or_create(&CgroupLabels { what }).set(gauge(*bytes));
            }
        }
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
