//! Which rows run together in the check of a model's rows.

use std::time::Duration;

use super::probe_rows::{PROVEN, Random};

/// The most time for the batches of each size, estimated from the time of one row.
pub(super) const MAX_TIME: Duration = Duration::from_secs(3);
/// Of the sizes up to this one, all primes are tried.
const PRIMES: u32 = 64;
/// All sizes of batches up to this one are tried.
const ALL_SIZES: u32 = 16;
/// The larger sizes that are tried besides primes.
const SAMPLED: u32 = 4;
/// The most bytes of the inputs of a batch of the check, except for one of eight rows.
const MAX_BYTES: usize = 64 << 20;
/// The same for the largest batch, if the graph proves nothing.
const MAX_BYTES_OF_LARGEST: usize = 512 << 20;

/// What limits the batches of the check.
pub(super) struct Limits {
    pub(super) max_batch: u32,
    pub(super) is_proven: bool,
    /// True if every new size costs time and memory. Such a model runs in its prepared sizes only, and each of them is
    /// compared when it is prepared.
    pub(super) pays_for_new_shapes: bool,
    /// The bytes of the inputs of one row.
    pub(super) row_bytes: usize,
    /// The rows that can be computed in the time of the check, estimated from single rows.
    pub(super) most_rows: u32,
}

/// The batches of the check, each as places in a list of `rows` rows: pairs in both orders and a batch of each size; if
/// the graph proves nothing, each row also with the first.
pub(super) fn batches(rows: usize, limits: &Limits) -> Vec<Vec<usize>> {
    let forwards: Vec<usize> = (0..rows).collect();
    let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
    let most = (limits.max_batch as usize).min(PROVEN as usize).min(rows);
    let mut batches = Vec::new();
    for order in [&forwards, &backwards] {
        batches.extend(order.chunks(2).map(<[usize]>::to_vec));
        batches.push(order[..most].to_vec());
    }
    if !limits.is_proven {
        batches.extend((1..rows).map(|row| vec![0, row]));
    }
    // Other rows in each size.
    batches.extend(
        sizes(limits).into_iter().map(|size| (0..size as usize).map(|at| (size as usize + at) % rows).collect()),
    );
    batches
}

/// The sizes of batches to try. A model, or a library that chooses another algorithm for each size, may be wrong in a
/// single one: all sizes up to 16 are tried; of the larger ones
/// the primes up to 64, some others, and the largest.
fn sizes(limits: &Limits) -> Vec<u32> {
    let max = limits.max_batch;
    if limits.pays_for_new_shapes && limits.is_proven {
        return Vec::new();
    }
    let mut sizes: Vec<u32> = (1..=max.min(ALL_SIZES)).collect();
    let is_prime =
        |size: u32| (2..size).take_while(|factor| factor * factor <= size).all(|factor| !size.is_multiple_of(factor));
    sizes.extend((ALL_SIZES + 1..=max.min(PRIMES)).filter(|&size| is_prime(size)));
    let mut random = Random::for_row(max, 0);
    for (after, to) in [(ALL_SIZES, max.min(PRIMES)), (PRIMES, max)] {
        if to > after {
            let between = to - after;
            sizes.extend((0..SAMPLED).map(|_| after + 1 + (random.next() * between as f32) as u32 % between));
            sizes.push(to);
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    // One batch of eight rows is always possible.
    let fitting = (MAX_BYTES / limits.row_bytes.max(1)).max(PROVEN as usize) as u32;
    // Where the graph proves nothing, all small sizes and the largest are tried, however long that takes.
    let always = if limits.is_proven { PROVEN } else { ALL_SIZES };
    let fitting_largest = fitting.max((MAX_BYTES_OF_LARGEST / limits.row_bytes.max(1)) as u32);
    let is_unproven_largest = |size: u32| !limits.is_proven && size == max && size <= fitting_largest;
    let mut left = limits.most_rows;
    // The largest comes first, because most batches under load have this size.
    let mut tried: Vec<u32> = sizes.pop().into_iter().chain(sizes).collect();
    tried.retain(|&size| {
        let has_time = size <= left;
        left -= if has_time { size } else { 0 };
        size <= fitting && (has_time || size <= always) || is_unproven_largest(size)
    });
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_batch: u32, is_proven: bool, row_bytes: usize, most_rows: u32) -> Limits {
        Limits { max_batch, is_proven, pays_for_new_shapes: false, row_bytes, most_rows }
    }

    #[test]
    fn rows_run_together_in_both_orders() {
        for is_proven in [true, false] {
            let batches = batches(8, &limits(8, is_proven, 4, 1_000));
            for first in (0..8).step_by(2) {
                for pair in [[first, first + 1], [first + 1, first]] {
                    assert!(batches.iter().any(|batch| batch[..] == pair), "{pair:?}");
                }
            }
            for order in [[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0]] {
                assert!(batches.iter().any(|batch| batch[..] == order), "{order:?}");
            }
        }
    }

    #[test]
    fn sizes_above_64_are_tried() {
        for (max, is_proven) in [(100, true), (300, true), (1_000, false)] {
            let sizes = sizes(&limits(max, is_proven, 4, 100_000));
            assert!((1..=16).all(|size| sizes.contains(&size)) && sizes.contains(&61) && sizes.contains(&64));
            assert!(sizes.contains(&max) && sizes.iter().all(|&size| size <= max), "{sizes:?}");
            assert!(sizes.iter().filter(|&&size| size > 64).count() > 2, "{sizes:?}");
        }
        // Without the time, the largest size is tried only if the graph proves nothing.
        assert!(!sizes(&limits(300, true, 4, 20)).contains(&300));
        assert!(sizes(&limits(300, false, 4, 20)).contains(&300));
        assert!(!sizes(&limits(300, false, 8 << 20, 20)).contains(&300), "2400 MiB");
    }
}
