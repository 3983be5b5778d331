//! Containers that grow by replacing their block: a vector, a hash table or an arena is one block that is replaced by a larger
//! one when it is full, or a chain of blocks of which each is twice as large as the one before.
//!
//! At a replacement the container is exactly full, so its growth is the difference of the capacities at two replacements,
//! divided by the requests between them. The allocated size at the end says little: it is up to twice the size in use.

mod changes;
mod container;
mod few;
mod rate;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;

use super::heap::Block;
use super::record::Survivor;
pub use container::Container;
use container::{MIN_REPLACEMENTS, SAME_FACTOR};
pub use few::mark_few;
pub use rate::{Certainty, ContainerGrowth};

/// Maximum pairs of vanished and new blocks that are compared after one call; for blocks of known containers, this many
/// times as many.
const MAX_PAIRS: usize = 4_096;
const MORE_IF_KNOWN: usize = 16;
/// Maximum bytes by which twice a size is missed: what the allocator adds to both blocks.
const DOUBLE_SLACK: u64 = 32;
/// Minimum bytes of a block that is replaced by one of more than twice its size.
const SMALLEST_FOURFOLD: u32 = 64;
/// The sizes of successive blocks of an arena, relative to each other.
const ARENA_FACTOR: std::ops::RangeInclusive<f64> = 1.4..=2.6;
/// Maximum blocks of one size in an arena whose blocks double.
const MAX_ALIKE: usize = 3;

/// Follows containers from call to call.
#[derive(Debug, Default)]
pub struct Containers {
    /// By the address of their block.
    tracked: HashMap<u32, Container>,
    /// The number of calls after which they were last looked at.
    looked: usize,
}

/// How well a new block fits a container whose block vanished; `None` if it does not.
type Rule = fn(&Survivor, Option<&Container>, Block) -> Option<u64>;

/// A block that vanished, and the container that it was.
type Gone = (Survivor, Option<Container>);

impl Containers {
    /// Records what one call replaced. A container whose block vanished continues in the new block whose size fits best;
    /// without such a block it is gone.
    pub fn update(&mut self, call: usize, vanished: &[Survivor], new: &[Block]) {
        // All are removed before one is added, because a new block may have the old address of another container's
        // block.
        let mut gone: Vec<Gone> = vanished.iter().map(|old| (*old, self.tracked.remove(&old.block.address))).collect();
        let mut free = new.to_vec();
        // What has grown most often comes first, because its next size is known best: a static that keeps the last image
        // is replaced in the same call, too. Of vectors that grow together, the smallest has the smallest new block.
        gone.sort_by_key(|(old, known)| (Reverse(known.as_ref().map_or(0, |known| known.grown.len())), old.block.size));
        let known = gone.partition_point(|(_, known)| known.is_some());
        let mut unknown = gone.split_off(known);
        gone.truncate(MORE_IF_KNOWN * MAX_PAIRS / free.len().max(1));
        // Known containers see all new blocks.
        self.continue_by(&[by_its_factor], call, &mut gone, &mut free);
        if unknown.len() * free.len() > MAX_PAIRS {
            cancel_alike(&mut unknown, &mut free);
        }
        if unknown.len() * free.len() <= MAX_PAIRS {
            gone.append(&mut unknown);
        }
        self.continue_by(&[exactly_twice, up_to_twice, up_to_four_times], call, &mut gone, &mut free);
    }

    /// Continues containers in the free blocks that fit best, by one rule after the other. What was continued is removed from both.
    fn continue_by(&mut self, rules: &[Rule], call: usize, gone: &mut Vec<Gone>, free: &mut Vec<Block>) {
        for rule in rules {
            gone.retain_mut(|(old, known)| {
                let at = |block: &Block| (block.address != old.block.address, rule(old, known.as_ref(), *block));
                let fits = free.iter().enumerate().filter(|(_, block)| rule(old, known.as_ref(), **block).is_some());
                let Some((index, _)) = fits.min_by_key(|(_, block)| at(block)) else { return true };
                let next = free.swap_remove(index);
                let since = old.born.unwrap_or(0);
                let mut container = known.take().unwrap_or_else(|| Container { since, ..Container::default() });
                container.grown.push((call, old.block.size));
                container.size = next.size;
                container.blocks = vec![next.address];
                self.tracked.insert(next.address, container);
                false
            });
        }
    }

    /// Looks into the containers in memory, after [`Self::update`]. `is_last`: the call is the last one of a round.
    pub fn look(&mut self, call: usize, is_last: bool, memory: &[u8]) {
        let calls = std::mem::replace(&mut self.looked, call + 1).min(call)..call + 1;
        for container in self.tracked.values_mut() {
            container.note(call, memory);
            container.look(calls.clone(), memory);
            if is_last {
                container.compare(memory);
            }
        }
    }

    /// The containers whose block was replaced.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        self.tracked.values()
    }
}

/// Leaves out blocks that vanished, of no known container, and as many new ones of the same size: something of many blocks was made
/// again, such as the last result, and no container is replaced by a block of its own size.
fn cancel_alike(unknown: &mut Vec<Gone>, free: &mut Vec<Block>) {
    let mut made: HashMap<u32, usize> = HashMap::new();
    free.iter().for_each(|block| *made.entry(block.size).or_default() += 1);
    let mut cancelled: HashMap<u32, usize> = HashMap::new();
    unknown.retain(|(old, _)| match made.get_mut(&old.block.size).filter(|left| **left > 0) {
        None => true,
        Some(left) => {
            *left -= 1;
            *cancelled.entry(old.block.size).or_default() += 1;
            false
        }
    });
    free.retain(|block| match cancelled.get_mut(&block.size).filter(|left| **left > 0) {
        None => true,
        Some(left) => {
            *left -= 1;
            false
        }
    });
}

/// How far a new block is from the one that a container needs next, if it grows by the same factor as before; `None` if it
/// does not fit.
fn by_its_factor(old: &Survivor, known: Option<&Container>, next: Block) -> Option<u64> {
    let (_, before) = *known?.grown.last()?;
    let expected = f64::from(old.block.size).powi(2) / f64::from(before.max(1));
    let ratio = f64::from(next.size) / expected;
    let fits = next.size > old.block.size && (ratio - 1.0).abs() <= SAME_FACTOR - 1.0;
    fits.then(|| (f64::from(next.size) - expected).abs() as u64)
}

/// The same for a container of which nothing is known: most double.
fn exactly_twice(old: &Survivor, _: Option<&Container>, next: Block) -> Option<u64> {
    let apart = u64::from(next.size).abs_diff(2 * u64::from(old.block.size));
    (next.size > old.block.size && apart <= DOUBLE_SLACK).then_some(apart)
}

/// The same: at most about twice as large.
fn up_to_twice(old: &Survivor, _: Option<&Container>, next: Block) -> Option<u64> {
    let most = old.block.size.saturating_mul(2).saturating_add(64);
    (next.size > old.block.size && next.size <= most).then_some(u64::from(next.size))
}

/// The same: up to four times as large.
fn up_to_four_times(old: &Survivor, _: Option<&Container>, next: Block) -> Option<u64> {
    let most = old.block.size.saturating_mul(4).saturating_add(64);
    (old.block.size >= SMALLEST_FOURFOLD && next.size > old.block.size && next.size <= most)
        .then_some(u64::from(next.size))
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
        let blocks = chain.iter().map(|(_, block)| block.address).collect();
        Container { grown, size, blocks, ..Container::default() }
    };
    chains.into_iter().map(arena).filter(|arena| arena.grown.len() >= MIN_REPLACEMENTS).collect()
}
