//! Containers that grow and caches that are full in the course of the run.

use std::collections::VecDeque;

use super::*;

/// A step of a plugin.
type Step = Box<dyn FnMut(&mut Heap, usize)>;

/// A vector of elements of some bytes: its capacity, and the next one.
struct Vector {
    element: u32,
    capacity: u32,
    next: fn(u32) -> u32,
    length: u32,
    block: u32,
}

impl Vector {
    fn new(element: u32, capacity: u32, next: fn(u32) -> u32) -> Self {
        Self { element, capacity, next, length: 0, block: 0 }
    }

    fn doubling(element: u32) -> Self {
        Self::new(element, 4, |capacity| 2 * capacity)
    }

    /// Makes room for some elements.
    fn grow_to(&mut self, heap: &mut Heap, call: usize, length: u32) {
        let size = |capacity: u32, element: u32| (capacity * element + 4).next_multiple_of(16);
        if self.block == 0 {
            self.block = heap.add(size(self.capacity, self.element), call);
        }
        self.length = length;
        while self.length > self.capacity {
            self.capacity = (self.next)(self.capacity);
            self.block = heap.enlarge(self.block, size(self.capacity, self.element), call);
        }
    }

    fn push(&mut self, heap: &mut Heap, call: usize) {
        self.grow_to(heap, call, self.length + 1);
    }
}

/// The verdict and the bytes per request for each seed.
fn results(requests: usize, seeds: u64, case: impl Fn() -> Step) -> Vec<(Verdict, f64)> {
    let one = |seed| run_rounds(requests, seed, case()).0.finding;
    (0..seeds).map(one).map(|finding| (finding.verdict, finding.growth.bytes)).collect()
}

/// The results that are not a leak of `expected` bytes per request, within a share.
fn wrong(results: &[(Verdict, f64)], expected: f64, share: f64) -> Vec<(Verdict, f64)> {
    let is_right =
        |&(verdict, bytes): &(Verdict, f64)| verdict == Verdict::Leaks && (bytes / expected - 1.0).abs() <= share;
    results.iter().copied().filter(|result| !is_right(result)).collect()
}

/// A static that keeps the last image: the sizes are those of 24 images.
fn keep_last(heap: &mut Heap, call: usize, sizes: &mut Vec<u32>, last: &mut Option<u32>) {
    while sizes.len() < 24 {
        let power = heap.random.below(8);
        sizes.push((256 << power) + 16 * heap.random.below(16 << power));
    }
    let next = heap.add(sizes[call % 24], call);
    if let Some(old) = last.replace(next) {
        heap.free(old);
    }
}

#[test]
fn a_vector_beside_the_last_image_is_a_leak() {
    for element in [8, 16, 24, 48] {
        let found = results(24, FEWER_SEEDS, || {
            let (mut vector, mut sizes, mut last) = (Vector::doubling(element), Vec::new(), None);
            Box::new(move |heap, call| {
                keep_last(heap, call, &mut sizes, &mut last);
                vector.push(heap, call);
            })
        });
        let wrong = wrong(&found, f64::from(element), 0.05);
        assert!(wrong.is_empty(), "{element}: {wrong:?}");
    }
    let found = leaking(|| {
        let (mut sizes, mut last) = (Vec::new(), None);
        move |heap: &mut Heap, call: usize| keep_last(heap, call, &mut sizes, &mut last)
    });
    assert!(found.is_empty(), "the last image alone: {found:?}");
}

#[test]
fn vectors_that_grow_together_are_leaks_of_all_their_elements() {
    for elements in [&[12, 8][..], &[24, 16], &[32, 24], &[20, 16], &[16, 20], &[24, 32], &[8, 12], &[12, 8, 16]] {
        for requests in [16, 24] {
            let found = results(requests, 1, || {
                let mut vectors: Vec<Vector> = elements.iter().map(|&element| Vector::doubling(element)).collect();
                Box::new(move |heap, call| vectors.iter_mut().for_each(|vector| vector.push(heap, call)))
            });
            let wrong = wrong(&found, f64::from(elements.iter().sum::<u32>()), 0.05);
            assert!(wrong.is_empty(), "{elements:?}: {wrong:?}");
        }
    }
}

#[test]
fn a_vector_with_any_capacity_and_growth_is_a_leak() {
    let twice: fn(u32) -> u32 = |capacity| 2 * capacity;
    for (first, next) in [
        (4, twice),
        (64, twice),
        (256, twice),
        (384, twice),
        (512, twice),
        (700, twice),
        (16, |capacity| 3 * capacity),
        (8, |capacity| 3 * capacity / 2),
        (64, |capacity| capacity + 64),
        (256, |capacity| capacity + 256),
        (512, |capacity| capacity + 512),
        (1_000, |capacity| capacity + 1_000),
    ] {
        for requests in [16, 24] {
            let found = results(requests, 1, || {
                let mut vector = Vector::new(16, first, next);
                Box::new(move |heap, call| vector.push(heap, call))
            });
            let wrong = wrong(&found, 16.0, 0.05);
            assert!(wrong.is_empty(), "{first} → {}: {wrong:?}", next(first));
        }
    }
}

/// One replacement, or the next one only after the last call that is possible, says too little.
#[test]
fn a_vector_of_which_too_little_is_known_is_not_called_steady() {
    for (first, factor, requests) in [(1_024, 2, 24), (1_400, 2, 24), (16, 4, 16), (200, 4, 24), (1_500, 3, 24)] {
        let found = results(requests, 1, || {
            let next: fn(u32) -> u32 = match factor {
                2 => |capacity| 2 * capacity,
                3 => |capacity| 3 * capacity,
                _ => |capacity| 4 * capacity,
            };
            let mut vector = Vector::new(16, first, next);
            Box::new(move |heap, call| vector.push(heap, call))
        });
        assert_ne!(found[0].0, Verdict::Steady, "{first} × {factor}");
    }
}

/// Chance decides when such a vector is enlarged, so its rate is known only roughly.
#[test]
fn a_vector_with_rare_elements_is_seldom_called_steady() {
    for one_of in [2, 5, 10, 20, 32] {
        let found = results(24, 30, || {
            let mut vector = Vector::doubling(8);
            Box::new(move |heap, call| {
                if heap.random.below(one_of) == 0 {
                    vector.push(heap, call);
                }
            })
        });
        let count = |verdict| found.iter().filter(|(found, _)| *found == verdict).count();
        println!("one of {one_of}: {} leak, {} steady", count(Verdict::Leaks), count(Verdict::Steady));
        assert!(count(Verdict::Steady) <= 3, "one of {one_of}: {found:?}");
    }
}

/// A cache or a ring of at most 1,000 entries: blocks, a table, or both.
#[derive(Clone, Copy, Debug)]
struct Ring {
    entries: usize,
    has_blocks: bool,
    /// Bytes of an entry in the table, and its first capacity.
    table: Option<(u32, u32)>,
    is_lru: bool,
}

impl Ring {
    fn step(self) -> Step {
        let mut kept: VecDeque<u32> = VecDeque::new();
        let mut table = self.table.map(|(element, first)| Vector::new(element, first, |capacity| 2 * capacity));
        Box::new(move |heap, call| {
            kept.push_back(if self.has_blocks { heap.add(272, call) } else { 0 });
            if kept.len() > self.entries {
                let index = if self.is_lru { 0 } else { heap.random.below(kept.len() as u32) as usize };
                kept.remove(index).into_iter().for_each(|block| heap.free(block));
            }
            if let Some(table) = &mut table {
                table.grow_to(heap, call, kept.len() as u32);
            }
        })
    }
}

#[test]
fn a_cache_of_up_to_1_000_entries_is_no_leak() {
    let mut wrong = Vec::new();
    for entries in [300, 450, 513, 600, 760, 900, 1_000] {
        for requests in [16, 18, 20, 24] {
            for (has_blocks, table) in
                [(true, None), (true, Some((24, 7))), (true, Some((24, 4))), (false, Some((24, 4)))]
            {
                for table in [table, table.map(|(element, _)| (element, 256))] {
                    let ring = Ring { entries, has_blocks, table, is_lru: true };
                    let found = results(requests, 1, || ring.step());
                    wrong.extend(found.iter().filter(|one| one.0 == Verdict::Leaks).map(|_| (requests, ring)));
                }
            }
        }
        if entries >= 700 {
            let ring = Ring { entries, has_blocks: true, table: None, is_lru: false };
            let found = results(16, 20, || ring.step());
            wrong.extend(found.iter().filter(|one| one.0 == Verdict::Leaks).map(|_| (16, ring)));
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:?}", wrong.len());
}

/// Blocks of many sizes, of which each alone proves nothing.
#[test]
fn the_bytes_of_blocks_of_many_sizes_are_those_of_all_of_them() {
    for sizes in [10, 40, 200, 1_000, 4_000] {
        for node in [0, 48] {
            let found = results(24, 5, || {
                Box::new(move |heap, call| {
                    if node > 0 {
                        heap.add(node, call);
                    }
                    let size = 64 + 16 * heap.random.below(sizes);
                    heap.add(size, call);
                })
            });
            let wrong = wrong(&found, f64::from(node + 64 + 8 * (sizes - 1)), 0.15);
            assert!(wrong.is_empty(), "{sizes} sizes, node {node}: {wrong:?}");
        }
    }
}

/// Garbage that is freed at the end of a round, as a collector does, in the same calls as the vector grows.
#[test]
fn a_vector_beside_much_garbage_is_a_leak() {
    let found = results(16, 10, || {
        let (mut vector, mut garbage) = (Vector::doubling(16), Vec::new());
        Box::new(move |heap, call| {
            if call % 16 == 0 {
                garbage.drain(..).for_each(|block| heap.free(block));
            }
            for _ in 0..100 {
                let size = heap.any_size();
                garbage.push(heap.add(size, call));
            }
            vector.push(heap, call);
        })
    });
    let wrong = wrong(&found, 16.0, 0.05);
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_vector_of_a_few_inputs_beside_a_cache_that_fills_is_a_leak() {
    let found = results(24, 10, || {
        let mut vector = Vector::doubling(64);
        let mut seen = std::collections::HashSet::new();
        Box::new(move |heap, call| {
            if seen.insert(heap.random.below(500)) {
                heap.add(272, call);
            }
            if call % 24 < 3 {
                vector.push(heap, call);
            }
        })
    });
    let wrong = wrong(&found, 8.0, 0.2);
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A table of what was seen whose entries are in the table itself fills more and more slowly.
#[test]
fn a_table_of_random_keys_without_blocks_is_no_leak() {
    for keys in [100, 300, 1_000, 2_000] {
        let found = results(24, FEWER_SEEDS, || {
            let mut table = Vector::new(24, 7, |capacity| 2 * capacity);
            let mut seen = std::collections::HashSet::new();
            Box::new(move |heap, call| {
                seen.insert(heap.random.below(keys));
                table.grow_to(heap, call, seen.len() as u32);
            })
        });
        assert!(found.iter().all(|(verdict, _)| *verdict != Verdict::Leaks), "{keys} keys: {found:?}");
    }
}
