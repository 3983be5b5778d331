//! Tests: which block a container continues in, and at which rate it grows.

use super::*;
use crate::record::Record;

/// The record of a run with so many requests in a round.
fn record(requests: usize) -> Record {
    Record { requests, ..Record::default() }
}

/// Bytes per call of a container of `per_call` bytes per call, until the call `until`, as seen after `calls` calls.
fn doubling(per_call: usize, until: usize, calls: usize) -> Option<f64> {
    let mut containers = Containers::default();
    let mut capacity = 64;
    let mut block = Block { address: 1_000, size: capacity as u32 };
    for call in 0..calls {
        if per_call * (call + 1).min(until) > capacity {
            capacity *= 2;
            let next = Block { address: block.address + 5_000, size: capacity as u32 };
            containers.update(call, &[Survivor { block, born: Some(0) }], &[next]);
            block = next;
        }
    }
    containers.all().find_map(|container| container.growth(calls, &record(10))).map(|growth| growth.bytes)
}

#[test]
fn a_container_that_doubles_has_the_rate_of_the_requests_between_its_doublings() {
    for calls in [700, 1_000, 1_300] {
        let rate = doubling(100, usize::MAX, calls).expect("it grows");
        assert!((rate / 100.0 - 1.0).abs() < 0.05, "{rate}");
    }
    assert_eq!(doubling(100, 50, 1_000), None, "it stopped");
}

/// The last result is made again in each call, of so many blocks that not all pairs of old and new ones can be compared. The new
/// one is made before the old one is dropped.
#[test]
fn a_container_beside_a_last_result_of_many_blocks_is_found() {
    let result = |call: u32| (0..100).map(move |at| Block { address: 100_000 + call % 2 * 50_000 + at * 64, size: 48 });
    let mut containers = Containers::default();
    let (mut block, calls) = (Block { address: 1_000, size: 64 }, 1_500);
    for call in 0..calls {
        let mut vanished: Vec<Survivor> =
            result(call).map(|block| Survivor { block, born: Some(call as usize) }).collect();
        let mut new: Vec<Block> = result(call + 1).collect();
        if 8 * (call + 1) > block.size {
            let next = Block { address: block.address + 10, size: 2 * block.size };
            vanished.push(Survivor { block, born: Some(0) });
            new.push(next);
            block = next;
        }
        containers.update(call as usize, &vanished, &new);
    }
    let rates = containers.all().filter_map(|container| container.growth(calls as usize, &record(10)));
    let rates: Vec<f64> = rates.map(|growth| growth.bytes).collect();
    assert!(rates.len() == 1 && (rates[0] / 8.0 - 1.0).abs() < 0.05, "{rates:?}");
}

/// A bump arena keeps its full blocks; records do not fit exactly.
#[test]
fn an_arena_has_the_rate_of_the_requests_that_filled_its_blocks() {
    let (mut blocks, mut left, mut size) = (vec![(Block { address: 8, size: 512 }, Some(0))], 512, 512);
    for call in 0..2_000 {
        if left < 300 {
            size *= 2;
            blocks.push((Block { address: 8 + call as u32 * 4_096, size }, Some(call)));
            left = size;
        }
        left -= 300;
    }
    // Blocks of one size are no arena.
    blocks.extend((0..40).map(|at| (Block { address: 9_000_000 + at * 64, size: 1_024 }, Some(at as usize))));
    let found = arenas(blocks.iter().copied());
    let growth = found.iter().find_map(|arena| arena.growth(2_000, &record(20))).expect("it grows");
    assert!((growth.bytes / 300.0 - 1.0).abs() < 0.05, "{growth:?}");
}

/// Doublings at calls that chance decides: of a list at random, and of a queue that is emptied at random, these may be the same.
#[test]
fn a_container_that_is_overwritten_leaks_only_at_an_exact_rate() {
    let block = |doublings: u32| Block { address: 10_000 * (doublings + 1), size: 1_024 << doublings };
    let certainty = |calls: &[usize], overwrites: bool| {
        let (mut containers, mut memory) = (Containers::default(), vec![1; 200_000]);
        for (at, &call) in calls.iter().enumerate() {
            let (old, new) = (block(at as u32), block(at as u32 + 1));
            containers.update(call, &[Survivor { block: old, born: Some(0) }], &[new]);
            containers.look(call, false, &memory);
            if overwrites {
                memory.fill(at as u8 + 2);
            }
            containers.look(call + 1, true, &memory);
        }
        containers.all().find_map(|container| container.growth(2_000, &record(10))).map(|growth| growth.certainty)
    };
    let (random, exact) = ([30, 90, 390, 800, 1_700], [100, 200, 400, 800, 1_600]);
    assert_eq!(certainty(&random, false), Some(Certainty::Leaks));
    assert_eq!(certainty(&random, true), Some(Certainty::Growing));
    assert_eq!(certainty(&exact, true), Some(Certainty::Leaks));
}

/// Lists of entries of eight bytes in a memory, of which `keeps` names those that a call enlarges. Returns what is known of them after so many
/// calls, of which `enough` must have brought something. `entry`: the bytes that the call with this index writes; fresh memory
/// is zero, and that of an old block has what was in it.
fn certainties(
    calls: usize,
    enough: usize,
    lists: usize,
    keeps: impl Fn(usize, usize) -> bool,
    entry: impl Fn(usize) -> u64,
) -> Vec<Certainty> {
    certainties_of(calls, enough, lists, (8, false), keeps, entry)
}

/// The same with entries of so many bytes, and, if there are stamps, four bytes in each entry of which each call writes one.
fn certainties_of(
    calls: usize,
    enough: usize,
    lists: usize,
    (length, has_stamps): (u32, bool),
    keeps: impl Fn(usize, usize) -> bool,
    entry: impl Fn(usize) -> u64,
) -> Vec<Certainty> {
    let (mut containers, mut memory) = (Containers::default(), vec![0; 1 << 24]);
    let mut blocks: Vec<(Block, u32)> =
        (0..lists as u32).map(|list| (Block { address: 1_000 * (list + 1), size: 8 * length + 4 }, 0)).collect();
    let mut top = 1_000 + 10_000 * lists as u32;
    for call in 0..calls {
        let (mut vanished, mut new) = (Vec::new(), Vec::new());
        for (list, (block, entries)) in blocks.iter_mut().enumerate().filter(|(list, _)| keeps(call, *list)) {
            if length * (*entries + 1) > block.size - 4 {
                let next = Block { address: top, size: 2 * (block.size - 4) + 4 };
                let (from, length) = (block.address as usize, block.size as usize - 4);
                memory.copy_within(from..from + length, next.address as usize);
                top += next.size;
                vanished.push(Survivor { block: *block, born: Some(list) });
                new.push(next);
                *block = next;
            }
            let at = (block.address + length * *entries) as usize;
            memory[at..at + 8].copy_from_slice(&entry(call).to_le_bytes());
            *entries += 1;
        }
        // The header of what comes behind each block changes all the time.
        for (block, entries) in &blocks {
            if has_stamps && *entries > 0 {
                let at = (block.address + length * (call as u32 * 7 % entries) + length - 4) as usize;
                memory[at..at + 4].copy_from_slice(&(call as u32).to_le_bytes());
            }
            let end = (block.address + block.size) as usize;
            memory[end - 4..end].copy_from_slice(&(call as u32).to_le_bytes());
        }
        containers.update(call, &vanished, &new);
        containers.look(call, call % 10 == 9, &memory);
    }
    let record = record(10);
    let growing = |container| Some((container, Container::growth(container, calls, &record)?));
    let mut found: Vec<_> = containers.all().filter_map(growing).collect();
    mark_few(&mut found, enough);
    found.into_iter().map(|(_, growth)| growth.certainty).collect()
}

/// One of 26 calls brings an entry to a cache of 100, which is not full yet.
#[test]
fn a_container_with_few_entries_may_be_a_cache() {
    let all =
        |certainty: Certainty, found: &[Certainty]| !found.is_empty() && found.iter().all(|one| *one == certainty);
    let by_call = |call: usize| call as u64 + 1;
    let one_of = |one_of: usize| move |call: usize, _: usize| call.is_multiple_of(one_of);
    assert!(all(Certainty::Leaks, &certainties(1_100, 1_024, 1, one_of(1), by_call)));
    // A cache may have several containers.
    for containers in [1, 2, 4] {
        assert!(all(Certainty::Few, &certainties(3_584, 256, containers, one_of(26), by_call)), "{containers}");
        assert!(all(Certainty::Leaks, &certainties(14_336, 256, containers, one_of(26), by_call)), "{containers}");
    }
    // Large entries, and times of the last use, which look like up to two more entries each.
    for (length, has_stamps, rare) in [(24, false, 26), (24, true, 60), (200, false, 26), (200, true, 60)] {
        let entry = (length, has_stamps);
        assert!(all(Certainty::Few, &certainties_of(3_584, 256, 1, entry, one_of(rare), by_call)), "{entry:?}");
        assert!(all(Certainty::Leaks, &certainties_of(3_584, 1_024, 1, entry, one_of(1), by_call)), "{entry:?}");
    }
    // Two caches that are filled by different calls.
    let two = |call: usize, list: usize| call % 26 == 5 * list;
    assert!(all(Certainty::Few, &certainties(3_584, 256, 2, two, by_call)));
    assert!(all(Certainty::Few, &certainties(3_584, 1_024, 1, one_of(5), by_call)));
    assert!(all(Certainty::Leaks, &certainties(3_584, 256, 1, one_of(5), by_call)));
    // What is always the same changes nothing where the memory has it already.
    for (constant, length) in [(0, 8), (1, 8), (u64::MAX, 8), (0, 400)] {
        let found = certainties_of(3_584, 256, 1, (length, false), one_of(1), |_| constant);
        assert!(all(Certainty::Leaks, &found), "{constant} {length}");
    }
    // A list for each of 30 keys: each call brings something to one of them.
    for entry in [by_call, |_| 1] {
        let found = certainties(4_096, 1_024, 30, |call, list| call % 30 == list, entry);
        assert!(all(Certainty::Leaks, &found), "{found:?}");
    }
}
