//! What a run records: each call, and what was held after each round.

use std::collections::BTreeMap;

use serde::Serialize;

use super::heap::Block;
use super::verdict::Held;
use plimsoll_runtime::outcome::Outcome;

/// One call of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// Index of the sample.
    pub sample: usize,
    /// The round, counted from 1.
    pub round: usize,
    /// The outcome of the call.
    pub outcome: Outcome,
    /// Heap memory in use after the call; `None` if the allocator is not dlmalloc, or if a large heap was not read after
    /// this call.
    pub live: Option<Held>,
    /// Bytes of linear memory after the call.
    pub linear: u64,
    /// Bytes of the tensors to which the guest has handles after the call.
    pub host: u64,
}

/// A block in use at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survivor {
    /// The block.
    pub block: Block,
    /// Index of the call that allocated it; `None` if it was there before the first call.
    pub born: Option<usize>,
}

/// What was held before the first round and after each round.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Number of requests in each round.
    pub requests: usize,
    /// True if the run ended early: the memory is full, or the instance ended.
    pub is_cut_short: bool,
    /// True if the heap could be read after the last round.
    pub heap_is_known: bool,
    /// The heap; nothing if it is not known.
    pub heap: Vec<Held>,
    /// The number of blocks of each size.
    pub sizes: Vec<BTreeMap<u32, u64>>,
    /// Bytes of all linear memories.
    pub linear: Vec<u64>,
    /// Bytes of linear memory that the heap does not cover.
    pub beside_heap: Vec<u64>,
    /// Bytes of the tensors to which the guest has handles.
    pub host: Vec<u64>,
    /// Bytes of the objects that the engine of the plugin's language holds outside of the allocator's blocks.
    pub objects: Vec<u64>,
    /// What the runtime of the plugin's language has allocated and never frees.
    pub runtime: Vec<Held>,
    /// Number of resources of the host to which the guest has handles, by kind.
    pub resources: Vec<BTreeMap<&'static str, u64>>,
}

impl Record {
    /// Number of complete rounds.
    pub fn rounds(&self) -> usize {
        self.linear.len().saturating_sub(1)
    }

    /// The number of resources of the host.
    pub fn resource_counts(&self) -> Vec<u64> {
        self.resources.iter().map(|kinds| kinds.values().sum()).collect()
    }

    /// Returns true if anything was more after the last round than after half of them.
    pub fn grows(&self) -> bool {
        let (rounds, half) = (self.rounds(), self.rounds() / 2);
        let grew = |values: &[u64]| values.len() > rounds && values[rounds] > values[half];
        let count = |round: usize, size: &u32| self.sizes[round].get(size).copied().unwrap_or(0);
        let heap: Vec<u64> = self.heap.iter().map(|held| held.bytes).collect();
        let runtime: Vec<u64> = self.runtime.iter().map(|held| held.bytes).collect();
        grew(&heap)
            // The runtime's own growth needs memory, too.
            || (grew(&self.linear) && !grew(&runtime))
            || grew(&self.host)
            || grew(&self.objects)
            || grew(&self.beside_heap)
            || grew(&self.resource_counts())
            || self
                .sizes
                .get(rounds)
                .is_some_and(|last| last.keys().any(|size| count(rounds, size) > count(half, size)))
    }
}
