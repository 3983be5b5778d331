//! Containers that double: a vector, a hash table or an arena is one block that is replaced by one of twice the size when
//! it is full, or a chain of blocks of which each is twice as large as the one before.
//!
//! At a doubling the container is exactly full, so its growth is the difference of the capacities at two doublings,
//! divided by the requests between them. The allocated size at the end says little: it is up to twice the size in use.

use std::collections::HashMap;

use super::heap::Block;

/// Minimum replacements of a container: with fewer, its rate is not known.
const MIN_REPLACEMENTS: usize = 4;
/// Maximum factor between the largest and the smallest ratio of successive sizes: a container grows by a constant factor.
/// Blocks of any sizes that only follow each other do not.
const SAME_FACTOR: f64 = 1.2;
/// Replacements at the end whose factors are compared.
const COMPARED: usize = 6;
/// Minimum ratio of the rate of an interval to that of the interval before, if the container grows at a constant rate.
/// A container with one entry for each different input grows more and more slowly.
const SLOWEST: f64 = 0.83;
/// With a ratio below this, more rounds are needed to see whether it grows more and more slowly.
const STEADY: f64 = 0.95;
/// Maximum ratio of these rates.
const FASTEST: f64 = 1.6;
/// A container that has not doubled after this many times the predicted number of requests counts as bounded.
const OVERDUE: f64 = 1.25;
/// Maximum pairs of vanished and new blocks that are compared after one call.
const MAX_PAIRS: usize = 4_096;
/// The sizes of successive blocks of an arena, relative to each other.
const ARENA_FACTOR: std::ops::RangeInclusive<f64> = 1.4..=2.6;
/// Maximum blocks of one size in an arena whose blocks double.
const MAX_ALIKE: usize = 3;

/// A block that was replaced by a larger one again and again, or an arena.
#[derive(Debug, Clone)]
pub struct Container {
    /// For each replacement: the number of calls before it, and the bytes that were full then.
    grown: Vec<(usize, u32)>,
    /// Bytes now.
    size: u32,
    /// The addresses of its blocks.
    pub blocks: Vec<u32>,
}

/// The growth of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContainerGrowth {
    /// Bytes per call.
    pub bytes: f64,
    /// Half the width of the interval of `bytes`.
    pub within: f64,
    /// True if it began early enough to be sure that it is not a queue that is emptied now and then, which begins again
    /// each time.
    pub is_sure: bool,
    /// True if it grows more slowly than before, but not yet so slowly that it is bounded.
    pub is_slower: bool,
}

impl Container {
    /// The growth, if it is at a constant rate and has not stopped after `calls` calls. `slack`: calls after which an
    /// expected replacement counts as overdue, because the heap is compared between rounds of that many calls.
    pub fn growth(&self, calls: usize, slack: usize) -> Option<ContainerGrowth> {
        if self.grown.len() < MIN_REPLACEMENTS || !self.has_constant_factor() {
            return None;
        }
        let &last = self.grown.last()?;
        // The last two doublings or more: the beginning is left out, because the smallest sizes do not double.
        let first = self.grown.iter().find(|(at, _)| 5 * at >= last.0)?;
        let middle = self.grown.iter().min_by_key(|(at, _)| (2 * at).abs_diff(last.0 + first.0))?;
        let rate = |from: &(usize, u32), to: &(usize, u32)| {
            (to.0 > from.0).then(|| (f64::from(to.1) - f64::from(from.1)) / (to.0 - from.0) as f64)
        };
        let (early, late) = (rate(first, middle)?, rate(middle, &last)?);
        if early <= 0.0 || late < SLOWEST * early || late > FASTEST * early {
            return None;
        }
        let bytes = rate(first, &last)?;
        let expected = f64::from(self.size.saturating_sub(last.1)) / bytes;
        let waited = calls.saturating_sub(last.0 + slack) as f64;
        let is_sure = 4 * self.grown[0].0 <= calls;
        let is_slower = late < STEADY * early;
        let growth = ContainerGrowth { bytes, within: (late - early).abs() / 2.0, is_sure, is_slower };
        (waited <= OVERDUE * expected).then_some(growth)
    }

    /// Returns true if the last sizes grow by the same factor; for sizes that grow by the same amount, it is nearly 1.
    fn has_constant_factor(&self) -> bool {
        let sizes: Vec<f64> =
            self.grown.iter().map(|(_, full)| f64::from(*full)).chain([f64::from(self.size)]).collect();
        let last = &sizes[sizes.len().saturating_sub(COMPARED)..];
        let factors = last.windows(2).map(|pair| pair[1] / pair[0].max(1.0));
        let (least, most) =
            factors.fold((f64::MAX, 0.0), |(least, most): (f64, f64), factor| (least.min(factor), most.max(factor)));
        least > 1.0 && most <= SAME_FACTOR * least
    }
}

/// Follows containers from call to call.
#[derive(Debug, Default)]
pub struct Containers {
    /// By the address of their block.
    tracked: HashMap<u32, Container>,
}

impl Containers {
    /// Records what one call replaced. Each vanished block is matched with the smallest new block that is larger, but
    /// at most about twice as large; a container whose block vanished without such a match is gone.
    pub fn update(&mut self, call: usize, vanished: &[Block], new: &[Block]) {
        let comparable = vanished.len() * new.len() <= MAX_PAIRS;
        let mut free: Vec<Block> = if comparable { new.to_vec() } else { Vec::new() };
        // All are removed before one is added, because a new block may have the old address of another container's
        // block.
        let known: Vec<_> = vanished.iter().map(|old| self.tracked.remove(&old.address)).collect();
        for (old, known) in vanished.iter().zip(known) {
            let most = old.size.saturating_mul(2).saturating_add(64);
            let fits = |block: &Block| block.size > old.size && block.size <= most;
            let place = |block: &Block| (block.address != old.address, block.size);
            let Some(next) = free.iter().copied().filter(fits).min_by_key(place) else { continue };
            free.retain(|block| *block != next);
            let mut container = known.unwrap_or(Container { grown: Vec::new(), size: 0, blocks: Vec::new() });
            container.grown.push((call, old.size));
            container.size = next.size;
            container.blocks = vec![next.address];
            self.tracked.insert(next.address, container);
        }
    }

    /// The containers whose block was replaced.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        self.tracked.values()
    }
}

/// The arenas among the blocks in use, each with the call that made it: chains of blocks whose sizes double.
pub fn arenas(survivors: impl Iterator<Item = (Block, Option<usize>)>) -> Vec<Container> {
    let mut made: Vec<(usize, Block)> = survivors.filter_map(|(block, born)| Some((born?, block))).collect();
    let mut alike: HashMap<u32, usize> = HashMap::new();
    for (_, block) in &made {
        *alike.entry(block.size).or_default() += 1;
    }
    made.retain(|(_, block)| alike[&block.size] <= MAX_ALIKE);
    made.sort_by_key(|(born, block)| (*born, block.size));
    let mut chains: Vec<Vec<(usize, Block)>> = Vec::new();
    for (born, block) in made {
        let last = |chain: &[(usize, Block)]| chain.last().map_or(0, |(_, block)| block.size);
        let fits = |chain: &&mut Vec<(usize, Block)>| {
            ARENA_FACTOR.contains(&(f64::from(block.size) / f64::from(last(chain).max(1))))
        };
        match chains.iter_mut().filter(fits).max_by_key(|chain| (last(chain), chain.len())) {
            Some(chain) => chain.push((born, block)),
            None => chains.push(vec![(born, block)]),
        }
    }
    let arena = |chain: Vec<(usize, Block)>| {
        let mut full = 0u32;
        let mut grown = Vec::with_capacity(chain.len());
        for pair in chain.windows(2) {
            full = full.saturating_add(pair[0].1.size);
            grown.push((pair[1].0, full));
        }
        let size = chain.iter().fold(0u32, |sum, (_, block)| sum.saturating_add(block.size));
        Container { grown, size, blocks: chain.iter().map(|(_, block)| block.address).collect() }
    };
    chains.into_iter().map(arena).filter(|arena| arena.grown.len() >= MIN_REPLACEMENTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes per call of a container of `per_call` bytes per call, until the call `until`, as seen after `calls` calls.
    fn doubling(per_call: usize, until: usize, calls: usize) -> Option<f64> {
        let mut containers = Containers::default();
        let mut capacity = 64;
        let mut block = Block { address: 1_000, size: capacity as u32 };
        for call in 0..calls {
            if per_call * (call + 1).min(until) > capacity {
                capacity *= 2;
                let next = Block { address: block.address + 5_000, size: capacity as u32 };
                containers.update(call, &[block], &[next]);
                block = next;
            }
        }
        containers.all().find_map(|container| container.growth(calls, 10)).map(|growth| growth.bytes)
    }

    #[test]
    fn a_container_that_doubles_has_the_rate_of_the_requests_between_its_doublings() {
        for calls in [700, 1_000, 1_300] {
            let rate = doubling(100, usize::MAX, calls).expect("it grows");
            assert!((rate / 100.0 - 1.0).abs() < 0.05, "{rate}");
        }
        assert_eq!(doubling(100, 50, 1_000), None, "it stopped");
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
        let growth = found.iter().find_map(|arena| arena.growth(2_000, 20)).expect("it grows");
        assert!((growth.bytes / 300.0 - 1.0).abs() < 0.05, "{growth:?}");
    }
}
