//! Leaks whose blocks look like those of something bounded, and what only looks like such a mixture.

use super::*;

/// Sequences of random numbers for each case: chance decides little here, and each takes long.
const SEEDS: u64 = 4;

/// The seeds for which a case counts as a leak.
fn leaking<S: FnMut(&mut Heap, usize)>(case: impl Fn() -> S) -> Vec<u64> {
    (0..SEEDS).filter(|&seed| run(seed, case()).0.finding.verdict == Verdict::Leaks).collect()
}

#[test]
fn a_leak_in_the_size_of_the_entries_of_a_cache_is_a_leak() {
    for (entries, is_lru) in [(50, true), (200, true), (400, true), (400, false)] {
        for every in [1, 4, 7] {
            let wrong: Vec<(u64, Verdict, f64)> = (0..SEEDS)
                .filter_map(|seed| {
                    let mut cache = cache(entries, is_lru, false);
                    let (judgement, _) = run(seed, |heap, call| {
                        cache(heap, call);
                        if call.is_multiple_of(every) {
                            heap.add(272, call);
                        }
                    });
                    let Finding { verdict, growth, .. } = judgement.finding;
                    let ratio = growth.bytes * every as f64 / 272.0;
                    (verdict != Verdict::Leaks || (ratio - 1.0).abs() > 0.15).then_some((seed, verdict, ratio))
                })
                .collect();
            assert!(wrong.is_empty(), "{entries} entries, LRU {is_lru}, one of {every}: {wrong:?}");
        }
    }
}

/// The number of blocks falls each time the batch is emptied.
#[test]
fn a_leak_in_the_size_of_the_records_of_a_batch_is_a_leak() {
    for records in [20, 100, 250] {
        for every in [1, 4] {
            let wrong: Vec<(u64, Verdict, f64)> = (0..SEEDS)
                .filter_map(|seed| {
                    let mut batch = Vec::new();
                    let (judgement, _) = run(seed, |heap, call| {
                        batch.push(heap.add(272, call));
                        if batch.len() as u32 > records - heap.random.below(10) {
                            batch.drain(..).for_each(|block| heap.free(block));
                        }
                        if call.is_multiple_of(every) {
                            heap.add(272, call);
                        }
                    });
                    let Finding { verdict, growth, .. } = judgement.finding;
                    let ratio = growth.bytes * every as f64 / 272.0;
                    (verdict != Verdict::Leaks || (ratio - 1.0).abs() > 0.3).then_some((seed, verdict, ratio))
                })
                .collect();
            assert!(wrong.is_empty(), "{records} records, one of {every}: {wrong:?}");
        }
    }
}

/// Two caches, and a cache and a batch that is emptied, with blocks of one size.
#[test]
fn two_bounded_things_of_one_size_are_no_leak() {
    for (entries, is_lru) in [(300, true), (700, true), (700, false)] {
        let found = leaking(|| {
            let (mut one, mut two) = (cache(entries, is_lru, false), cache(90, false, false));
            move |heap: &mut Heap, call: usize| {
                one(heap, call);
                if call.is_multiple_of(3) {
                    two(heap, call);
                }
            }
        });
        assert!(found.is_empty(), "{entries} entries, LRU {is_lru}: {found:?}");
        let found = leaking(|| {
            let (mut one, mut batch) = (cache(entries, is_lru, false), Vec::new());
            move |heap: &mut Heap, call: usize| {
                one(heap, call);
                batch.push(heap.add(272, call));
                if batch.len() == 400 {
                    batch.drain(..).for_each(|block| heap.free(block));
                }
            }
        });
        assert!(found.is_empty(), "{entries} entries, LRU {is_lru}, beside a batch: {found:?}");
    }
}

/// Each block is freed after a random number of calls, so their number rises to the mean of these and fluctuates.
#[test]
fn blocks_that_live_for_a_random_time_are_no_leak() {
    for mean in [20, 200, 600] {
        let found = leaking(|| {
            move |heap: &mut Heap, call: usize| {
                heap.add(272, call);
                let all: Vec<u32> = heap.live.keys().copied().collect();
                for block in all {
                    if heap.random.below(mean) == 0 {
                        heap.free(block);
                    }
                }
            }
        });
        assert!(found.is_empty(), "mean {mean}: {found:?}");
    }
}

/// A list for each of some keys: each of them grows rarely.
#[test]
fn a_list_for_each_key_is_a_leak() {
    for keys in [10, 30, 60] {
        let found: Vec<(Verdict, f64)> = (0..SEEDS)
            .map(|seed| {
                let mut lists = vec![(0_u32, 0_u32, 0_u32); keys as usize];
                let (judgement, _) = run(seed, move |heap, call| {
                    let key = heap.random.below(keys) as usize;
                    let (mut block, mut length, mut capacity) = lists[key];
                    length += 1;
                    if length > capacity {
                        capacity = (2 * capacity).max(4);
                        let size = (16 * capacity + 4).next_multiple_of(16);
                        block = if block == 0 { heap.add(size, call) } else { heap.enlarge(block, size, call) };
                    }
                    lists[key] = (block, length, capacity);
                });
                (judgement.finding.verdict, judgement.finding.growth.bytes)
            })
            .collect();
        let missed = found.iter().filter(|(verdict, _)| *verdict != Verdict::Leaks).count();
        assert!(missed == 0, "{keys} keys: {found:?}");
    }
}

/// Of lists and tables of numbers in JavaScript only the sum of all buffers is known.
#[test]
fn buffers_that_double_in_an_account_are_a_leak() {
    let verdict = |bytes: &dyn Fn(u64) -> u64| {
        // A run whose verdict is open has so many rounds of 24 calls.
        let buffers: Vec<u64> = (0..=128).map(|round| 400_000 + bytes(round * 24)).collect();
        let nothing = vec![0; buffers.len()];
        let resources = vec![BTreeMap::new(); buffers.len()];
        let [linear, host, beside_heap, objects] = [(); 4].map(|()| nothing.clone());
        let record =
            Record { requests: 24, buffers, linear, host, beside_heap, objects, resources, ..Record::default() };
        let [.., objects] = others(&record, Verdict::Steady);
        (objects.verdict, objects.growth.bytes)
    };
    for per_call in [24, 100, 800] {
        let (found, bytes) = verdict(&|calls| (calls * per_call).next_power_of_two());
        assert_eq!(found, Verdict::Leaks, "{per_call}");
        assert!((bytes / per_call as f64 - 1.0).abs() < 0.3, "{per_call}: {bytes}");
    }
    // What is made once, in the first round, is larger than all steps.
    let once = |calls: u64| if calls == 0 { 0 } else { 100_000 };
    assert_eq!(verdict(&|calls| once(calls) + (calls * 24).next_power_of_two()).0, Verdict::Leaks);
    assert_eq!(verdict(&once).0, Verdict::Steady);
    assert_eq!(verdict(&|calls| calls * 50), (Verdict::Leaks, 50.0));
    assert_eq!(verdict(&|_| 7).0, Verdict::Steady);
    // An account that is not understood.
    let any = |calls: u64| if calls.is_multiple_of(48) { 0 } else { u64::from(u32::MAX) << (calls % 7) };
    assert_ne!(verdict(&any).0, Verdict::Leaks);
    for bounded in [50_u64, 200, 600] {
        let full = verdict(&|calls| (calls.min(bounded) * 100).next_power_of_two());
        assert_ne!(full.0, Verdict::Leaks, "{bounded}");
        let emptied = verdict(&|calls| calls % bounded * 100);
        assert_ne!(emptied.0, Verdict::Leaks, "emptied after {bounded}");
    }
}
