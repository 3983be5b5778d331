//! Which rows run together in the check of a model's rows.

use std::time::Duration;

use super::probe_rows::{PROVEN, Random};

/// The most time for the batches of each size, estimated from the time of one row.
pub(super) const MAX_TIME: Duration = Duration::from_secs(3);
/// The largest batch of the check. Larger ones need memory and time.
const LARGEST: u32 = 64;
/// All sizes of batches up to this one are tried.
const ALL_SIZES: u32 = 16;
/// The larger sizes that are tried besides primes.
const SAMPLED: u32 = 4;
/// The most bytes of the inputs of a batch of the check, except for one of eight rows.
const MAX_BYTES: usize = 64 << 20;

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
/// single one: all sizes up to 16 are tried; of the larger ones the primes, some others, and the largest.
fn sizes(limits: &Limits) -> Vec<u32> {
    let max = limits.max_batch;
    if limits.pays_for_new_shapes && limits.is_proven {
        return Vec::new();
    }
    let mut sizes: Vec<u32> = (1..=max.min(ALL_SIZES)).collect();
    let is_prime =
        |size: u32| (2..size).take_while(|factor| factor * factor <= size).all(|factor| !size.is_multiple_of(factor));
    sizes.extend((ALL_SIZES + 1..=max.min(LARGEST)).filter(|&size| is_prime(size)));
    if max > ALL_SIZES {
        let mut random = Random::for_row(max, 0);
        let between = max.min(LARGEST) - ALL_SIZES;
        sizes.extend((0..SAMPLED).map(|_| ALL_SIZES + 1 + (random.next() * between as f32) as u32 % between));
        sizes.push(max.min(LARGEST));
    }
    sizes.sort_unstable();
    sizes.dedup();
    // One batch of eight rows is always possible.
    let fitting = (MAX_BYTES / limits.row_bytes.max(1)).max(PROVEN as usize) as u32;
    // Where the graph proves nothing, all small sizes are tried, however long that takes.
    let always = if limits.is_proven { PROVEN } else { ALL_SIZES };
    let mut left = limits.most_rows;
    sizes.retain(|&size| {
        let has_time = size <= left;
        left -= if has_time { size } else { 0 };
        size <= fitting && (has_time || size <= always)
    });
    sizes
}
