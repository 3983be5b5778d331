//! Tests: what is bounded is never called a leak, however it fluctuates, and a leak always is. Each case runs with many
//! sequences of random numbers.

mod growing;
mod mixed;

use std::collections::{BTreeMap, VecDeque};

use super::super::heap::Block;
use super::*;
use plimsoll_runtime::outcome::Outcome;

/// Sequences of random numbers for each case.
const SEEDS: u64 = 100;
/// Those for a leak: it must be found each time, so fewer are enough.
const FEWER_SEEDS: u64 = 30;
/// Requests of a round, and calls after which a verdict is final or after which there are no more: as in `run`.
const REQUESTS: usize = 24;
use crate::rounds::{CALLS_FOR_EACH, ENOUGH_CALLS, MOST_CALLS};

/// Random numbers: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % u64::from(end)) as u32
    }
}

/// A thing that allocates and frees: `step` is called once for each call.
struct Heap {
    random: Random,
    /// By address: size and call.
    live: BTreeMap<u32, (u32, usize)>,
    next: u32,
    containers: Containers,
    /// What the call has made and freed so far.
    made: Vec<Block>,
    gone: Vec<Survivor>,
}

impl Heap {
    fn add(&mut self, size: u32, call: usize) -> u32 {
        self.next += 4_096;
        self.live.insert(self.next, (size, call));
        self.made.push(Block { address: self.next, size });
        self.next
    }

    fn free(&mut self, address: u32) {
        if let Some((size, born)) = self.live.remove(&address) {
            self.gone.push(Survivor { block: Block { address, size }, born: Some(born) });
        }
    }

    /// Replaces a block of a container by a larger one.
    fn enlarge(&mut self, old: u32, size: u32, call: usize) -> u32 {
        let new = self.add(size, call);
        self.free(old);
        new
    }

    /// Passes on what the call has replaced, as it is seen between two calls.
    fn end_call(&mut self, call: usize) {
        let (mut made, mut gone) = (std::mem::take(&mut self.made), std::mem::take(&mut self.gone));
        made.retain(|block| self.live.contains_key(&block.address));
        gone.retain(|old| old.born != Some(call));
        gone.sort_by_key(|old| old.block.address);
        self.containers.update(call, &gone, &made);
    }

    /// One of forty sizes.
    fn any_size(&mut self) -> u32 {
        32 + 16 * self.random.below(40)
    }
}

/// Runs rounds as `Run` does, and judges them. Returns the judgement and the number of calls.
fn run(seed: u64, step: impl FnMut(&mut Heap, usize)) -> (HeapJudgement, usize) {
    run_rounds(REQUESTS, seed, step)
}

/// The same with another number of requests in each round.
fn run_rounds(requests: usize, seed: u64, mut step: impl FnMut(&mut Heap, usize)) -> (HeapJudgement, usize) {
    let mut heap = Heap {
        random: Random(seed),
        live: BTreeMap::new(),
        next: 0,
        containers: Containers::default(),
        made: Vec::new(),
        gone: Vec::new(),
    };
    let mut record = Record { requests, heap_is_known: true, ..Record::default() };
    let mut calls = Vec::new();
    let note = |record: &mut Record, heap: &Heap| {
        let mut sizes = BTreeMap::new();
        for (size, _) in heap.live.values() {
            *sizes.entry(*size).or_insert(0) += 1;
        }
        let bytes = heap.live.values().map(|(size, _)| u64::from(*size)).sum();
        record.heap.push(Held { bytes, blocks: heap.live.len() as u64 });
        record.sizes.push(sizes);
        record.linear.push(0);
        record.beside_heap.push(0);
        record.host.push(0);
        record.objects.push(0);
        record.runtime.push(Held::default());
        record.resources.push(BTreeMap::new());
    };
    note(&mut record, &heap);
    let mut goal = 8;
    for round in 1.. {
        for sample in 0..requests {
            step(&mut heap, calls.len());
            heap.end_call(calls.len());
            calls.push(Call { sample, round, outcome: Outcome::Ok, live: None, linear: 0, host: 0 });
        }
        note(&mut record, &heap);
        if round < goal {
            continue;
        }
        let survivors: Vec<Survivor> = heap
            .live
            .iter()
            .map(|(&address, &(size, call))| Survivor { block: Block { address, size }, born: Some(call) })
            .collect();
        let judgement = super::heap(&record, &calls, &survivors, &heap.containers);
        let may_grow = record.grows() || judgement.has_growing_container;
        let is_final = !may_grow || !judgement.is_open || 2 * calls.len() > MOST_CALLS;
        if calls.len() >= ENOUGH_CALLS && is_final {
            return (judgement, calls.len());
        }
        goal *= 2;
    }
    unreachable!("the rounds end")
}

/// The seeds for which a case counts as a leak.
fn leaking<S: FnMut(&mut Heap, usize)>(case: impl Fn() -> S) -> Vec<u64> {
    (0..SEEDS).filter(|&seed| run(seed, case()).0.finding.verdict == Verdict::Leaks).collect()
}

/// A cache that replaces its oldest entry, or any of them.
fn cache(entries: usize, is_lru: bool, has_sizes: bool) -> impl FnMut(&mut Heap, usize) {
    let mut kept = VecDeque::new();
    move |heap, call| {
        let size = if has_sizes { heap.any_size() } else { 272 };
        kept.push_back(heap.add(size, call));
        if kept.len() > entries {
            let index = if is_lru { 0 } else { heap.random.below(kept.len() as u32) as usize };
            if let Some(old) = kept.remove(index) {
                heap.free(old);
            }
        }
    }
}

#[test]
fn a_cache_with_eviction_is_no_leak() {
    for (entries, is_lru) in [(8, true), (8, false), (64, false), (500, true), (500, false)] {
        for has_sizes in [false, true] {
            let found = leaking(|| cache(entries, is_lru, has_sizes));
            assert!(found.is_empty(), "{entries} entries, LRU {is_lru}, sizes {has_sizes}: {found:?}");
        }
    }
}

/// One result for each of many random keys, which is replaced by the next one.
#[test]
fn results_by_random_keys_are_no_leak() {
    for keys in [50, 300, 1_000] {
        let found = leaking(|| {
            let mut by_key = BTreeMap::new();
            move |heap: &mut Heap, call: usize| {
                let (key, size) = (heap.random.below(keys), heap.any_size());
                let new = heap.add(size, call);
                if let Some(old) = by_key.insert(key, new) {
                    heap.free(old);
                }
            }
        });
        assert!(found.is_empty(), "{keys} keys: {found:?}");
    }
}

/// It fills more and more slowly, but is not full when the rounds end.
#[test]
fn a_table_of_random_keys_that_fills_is_no_leak() {
    for (keys, has_sizes) in [(1_000, false), (4_096, false), (1_000, true), (4_096, true)] {
        let found = leaking(|| {
            let mut seen = std::collections::HashSet::new();
            let (mut table, mut capacity) = (0, 7);
            move |heap: &mut Heap, call: usize| {
                let key = heap.random.below(keys);
                if seen.insert(key) {
                    heap.add(if has_sizes { 32 + 16 * (key % 40) } else { 272 }, call);
                }
                if table == 0 || seen.len() as u32 > capacity {
                    capacity *= 1 + u32::from(table != 0);
                    table = heap.enlarge(table, capacity * 20 + 16, call);
                }
            }
        });
        assert!(found.is_empty(), "{keys} keys, sizes {has_sizes}: {found:?}");
    }
}

#[test]
fn a_batch_that_is_emptied_is_no_leak() {
    for (records, has_sizes) in [(100, false), (100, true), (1_000, true)] {
        let found = leaking(|| {
            move |heap: &mut Heap, call: usize| {
                let size = if has_sizes { heap.any_size() } else { 216 };
                heap.add(size, call);
                if heap.live.len() >= records {
                    heap.live.keys().copied().collect::<Vec<_>>().into_iter().for_each(|block| heap.free(block));
                }
            }
        });
        assert!(found.is_empty(), "{records} records, sizes {has_sizes}: {found:?}");
    }
}

#[test]
fn what_each_request_or_every_second_one_keeps_is_a_leak() {
    let per_round = |bytes: f64| (bytes - 1.0).abs() < 0.15;
    for (one_of, has_sizes) in [(1, false), (1, true), (2, false), (2, true)] {
        let missed: Vec<u64> = (0..FEWER_SEEDS)
            .filter(|&seed| {
                let (judgement, _) = run(seed, |heap, call| {
                    let size = if has_sizes { heap.any_size() } else { 272 };
                    if heap.random.below(one_of) == 0 {
                        heap.add(size, call);
                    }
                });
                let expected = if has_sizes { 344.0 } else { 272.0 } / f64::from(one_of);
                let finding = judgement.finding;
                finding.verdict != Verdict::Leaks || !has_sizes && !per_round(finding.growth.bytes / expected)
            })
            .collect();
        assert!(missed.is_empty(), "one of {one_of}, sizes {has_sizes}: {missed:?}");
    }
}

/// The laboratory says how rare a leak it would have found.
#[test]
fn a_leak_that_is_as_rare_as_the_report_says_is_found() {
    let (mut found, mut calls) = (Vec::new(), 0);
    for seed in 0..SEEDS {
        // The number of calls of a run in which nothing grows.
        calls = run(seed, |_, _| {}).1;
        let one_of = (calls / CALLS_FOR_EACH) as u32;
        let (judgement, _) = run(seed, |heap, call| {
            if heap.random.below(one_of) == 0 {
                heap.add(4_016, call);
            }
        });
        found.push(judgement.finding.verdict == Verdict::Leaks);
    }
    let missed = found.iter().filter(|found| !**found).count();
    println!("{calls} calls: {missed} of {SEEDS} missed");
    assert!(100 * missed as u64 <= 10 * SEEDS, "{missed} of {SEEDS} missed");
}

/// The blocks of the leak have a size of their own.
#[test]
fn a_leak_beside_things_of_many_sizes_is_a_leak() {
    for seed in 0..FEWER_SEEDS {
        let mut cache = cache(500, false, true);
        let (judgement, _) = run(seed, |heap, call| {
            cache(heap, call);
            heap.add(2_000, call);
        });
        assert_eq!(judgement.finding.verdict, Verdict::Leaks, "{seed}");
        let growth = judgement.finding.growth.bytes;
        assert!((1_990.0..=2_010.0).contains(&growth), "{seed}: {growth}");
    }
}
