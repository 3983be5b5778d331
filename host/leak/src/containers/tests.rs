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

/// A table into which one of so many calls brings an entry of eight bytes. A cache of 100 entries would not be full yet.
#[test]
fn a_container_with_few_entries_may_be_a_cache() {
    let certainty = |one_of: usize, calls: usize, is_at_its_end: bool| {
        let (mut containers, mut memory) = (Containers::default(), vec![0; 1 << 16]);
        let (mut block, mut entries) = (Block { address: 1_000, size: 64 }, 0);
        for call in 0..calls {
            let (mut vanished, mut new) = (Vec::new(), Vec::new());
            if call % one_of == 0 {
                entries += 1;
                if 8 * entries > block.size {
                    let next = Block { address: block.address + block.size, size: 2 * block.size };
                    vanished.push(Survivor { block, born: Some(0) });
                    new.push(next);
                    block = next;
                }
                memory[(block.address + 8 * entries) as usize - 1] = 1;
            }
            containers.update(call, &vanished, &new);
            containers.look(call, call % 10 == 9, &memory);
        }
        let record = Record { is_at_its_end, ..record(10) };
        containers.all().find_map(|container| container.growth(calls, &record)).map(|growth| growth.certainty)
    };
    assert_eq!(certainty(1, 1_100, false), Some(Certainty::Leaks));
    assert_eq!(certainty(26, 3_584, false), Some(Certainty::Few));
    assert_eq!(certainty(26, 3_584, true), Some(Certainty::Few));
    assert_eq!(certainty(26, 14_336, true), Some(Certainty::Leaks));
    assert_eq!(certainty(5, 3_584, false), Some(Certainty::Few));
    assert_eq!(certainty(5, 3_584, true), Some(Certainty::Leaks));
}
