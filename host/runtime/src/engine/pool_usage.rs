//! How much of the instance pools is in use.

use serde::Serialize;
use wasmtime::{Engine, PoolingAllocatorMetrics};

/// The pools of instances: slots in use, and what unused slots still hold.
/// See [`PoolingAllocatorMetrics`](wasmtime::PoolingAllocatorMetrics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolUsage {
    /// Component instances in use.
    pub component_instances: u64,
    /// Core instances in use.
    pub core_instances: u64,
    /// Linear memories in use.
    pub memories: u64,
    /// Tables in use.
    pub tables: u64,
    /// Fiber stacks in use.
    pub stacks: u64,
    /// Unused memories that the next instance of the same component can reuse as they are.
    pub unused_warm_memories: u64,
    /// Bytes that unused memories keep resident.
    pub unused_memory_bytes: u64,
    /// Bytes that unused tables keep resident.
    pub unused_table_bytes: u64,
}

impl PoolUsage {
    /// The sum of the pools of these engines. `None` if the first has no pool.
    pub(super) fn of<'a>(engines: impl Iterator<Item = &'a Engine>) -> Option<Self> {
        engines.map_while(Engine::pooling_allocator_metrics).map(|pool| Self::read(&pool)).reduce(|sum, pool| Self {
            component_instances: sum.component_instances + pool.component_instances,
            core_instances: sum.core_instances + pool.core_instances,
            memories: sum.memories + pool.memories,
            tables: sum.tables + pool.tables,
            stacks: sum.stacks + pool.stacks,
            unused_warm_memories: sum.unused_warm_memories + pool.unused_warm_memories,
            unused_memory_bytes: sum.unused_memory_bytes + pool.unused_memory_bytes,
            unused_table_bytes: sum.unused_table_bytes + pool.unused_table_bytes,
        })
    }

    fn read(pool: &PoolingAllocatorMetrics) -> Self {
        Self {
            component_instances: pool.component_instances(),
            core_instances: pool.core_instances(),
            memories: pool.memories() as u64,
            tables: pool.tables() as u64,
            stacks: pool.stacks() as u64,
            unused_warm_memories: pool.unused_warm_memories().into(),
            unused_memory_bytes: pool.unused_memory_bytes_resident() as u64,
            unused_table_bytes: pool.unused_table_bytes_resident() as u64,
        }
    }
}
