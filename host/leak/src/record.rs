//! What a run records: each call, and what was held after each round.

use std::collections::BTreeMap;
use std::time::Duration;

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

/// Factor by which a leak is larger that is not the same as before, and bytes in addition: two runs differ by this much.
const MORE: f64 = 1.1;
const MORE_BYTES: f64 = 16.0;

/// What each request leaves in the second half of the rounds: bytes of the heap, of tensors, of pages, of objects, of their
/// buffers; and resources.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates([f64; 6]);

impl Rates {
    /// Of each the larger rate.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].max(other.0[at])))
    }

    /// Returns true if the bytes per request are no more than what was there before.
    pub fn is_as_before(before: f64, now: f64) -> bool {
        now <= MORE * before.max(0.0) + MORE_BYTES
    }

    /// The same for a number of things, such as handles.
    pub fn are_as_many(before: f64, now: f64) -> bool {
        now <= MORE * before.max(0.0)
    }

    /// Returns true if these rates are no larger than others.
    pub fn are_as_before(&self, before: &Self) -> bool {
        let [bytes @ .., _] = &self.0;
        let are_bytes = bytes.iter().zip(before.0).all(|(&now, before)| Self::is_as_before(before, now));
        are_bytes && Self::are_as_many(before.0[5], self.0[5])
    }
}

/// What was held before the first round and after each round.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Number of requests in each round.
    pub requests: usize,
    /// The time that the calls took.
    pub time: Duration,
    /// True if the run ended early: the memory is full, or the instance ended.
    pub is_cut_short: bool,
    /// True if the run ended because it had all rounds that it may have.
    pub is_at_its_end: bool,
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
    /// Bytes of the buffers of these objects, of which some are on the heap.
    pub buffers: Vec<u64>,
    /// After some rounds: the number of objects of JavaScript of each class.
    pub classes: Vec<(usize, BTreeMap<String, u64>)>,
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

    /// What each request leaves in the second half of the rounds.
    pub fn rates(&self) -> Rates {
        let (rounds, half) = (self.rounds(), self.rounds() / 2);
        let heap: Vec<u64> = self.heap.iter().map(|held| held.bytes).collect();
        let heap = if self.heap_is_known { &heap } else { &self.linear };
        let rate = |values: &[u64]| match (values.get(half), values.get(rounds)) {
            (Some(&from), Some(&to)) => {
                (to as f64 - from as f64) / ((rounds - half).max(1) * self.requests.max(1)) as f64
            }
            _ => 0.0,
        };
        let resources = self.resource_counts();
        let values = [heap, &self.host, &self.beside_heap, &self.objects, &self.buffers, &resources];
        Rates(values.map(|values| rate(values)))
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
            || grew(&self.buffers)
            || grew(&self.beside_heap)
            || grew(&self.resource_counts())
            || self
                .sizes
                .get(rounds)
                .is_some_and(|last| last.keys().any(|size| count(rounds, size) > count(half, size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of rounds of 24 requests with so many bytes of the heap and handles after each.
    fn record(rounds: u64, bytes: impl Fn(u64) -> u64, handles: impl Fn(u64) -> u64) -> Record {
        let after = 0..=rounds;
        let nothing: Vec<u64> = after.clone().map(|_| 0).collect();
        Record {
            requests: 24,
            heap_is_known: true,
            heap: after.clone().map(|round| Held { bytes: bytes(round), blocks: 0 }).collect(),
            resources: after.map(|round| BTreeMap::from([("stream", handles(round))])).collect(),
            linear: nothing.clone(),
            beside_heap: nothing.clone(),
            host: nothing.clone(),
            objects: nothing,
            ..Record::default()
        }
    }

    /// Bytes have a slack, because allocators round up. Of handles one more in four rounds is one more.
    #[test]
    fn one_more_handle_in_many_calls_is_more_than_before() {
        let before = record(8, |_| 0, |_| 5).rates();
        let handles = record(8, |_| 0, |round| 5 + round / 4).rates();
        assert!(!handles.are_as_before(&before), "{handles:?}");
        assert!(!Rates::are_as_many(0.0, 1.0 / 96.0));
        let few_bytes = record(8, |round| round * 24 * 16, |_| 5).rates();
        assert!(few_bytes.are_as_before(&before), "{few_bytes:?}");
        let more = record(8, |round| round * 24 * 17, |_| 5).rates();
        assert!(!more.are_as_before(&before), "{more:?}");
        assert!(more.are_as_before(&before.or_more(more)));
    }
}
