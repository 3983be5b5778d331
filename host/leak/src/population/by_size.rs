//! The populations of a heap: the blocks of each size, and all blocks.

use std::collections::BTreeMap;

use super::Population;

/// Bytes within which sizes count as the same: an allocator does not split off a small rest.
const SLACK: u32 = 16;

/// The populations of a run. Each has its sizes, from the first up to and excluding the last: every size, and pairs of
/// neighbouring sizes, because the same request may get a block with a small rest or without.
pub fn by_size(rounds: &[BTreeMap<u32, u64>], survivors: &[(u32, usize)]) -> Vec<(std::ops::Range<u32>, Population)> {
    let mut exact: BTreeMap<u32, Population> = BTreeMap::new();
    let empty = || Population { counts: vec![0; rounds.len()], born: vec![0; rounds.len()] };
    for (round, sizes) in rounds.iter().enumerate() {
        for (&size, &count) in sizes {
            exact.entry(size).or_insert_with(empty).counts[round] = count;
        }
    }
    for &(size, round) in survivors {
        if let Some(slot) = exact.get_mut(&size).and_then(|population| population.born.get_mut(round)) {
            *slot += 1;
        }
    }
    let mut found: Vec<_> = exact.iter().map(|(&size, one)| (size..size + 1, one.clone())).collect();
    for (&size, one) in &exact {
        let mut pair = one.clone();
        let mut more = exact.range(size + 1..=size + SLACK).peekable();
        if more.peek().is_some() {
            more.for_each(|(_, other)| pair.add(other));
            found.push((size..size + SLACK + 1, pair));
        }
    }
    found
}

/// All blocks as one population.
pub fn all(rounds: &[BTreeMap<u32, u64>], survivors: &[(u32, usize)]) -> Population {
    let counts = rounds.iter().map(|sizes| sizes.values().sum()).collect();
    let mut born = vec![0; rounds.len()];
    for &(_, round) in survivors {
        if let Some(slot) = born.get_mut(round) {
            *slot += 1;
        }
    }
    Population { counts, born }
}
