//! The objects to which blocks without an object belong.
//!
//! Some blocks are known by the layout of their object. Of the rest only words are known, and some words are left from what
//! was in a block before: such a word seems to lead to something, although its owner has nothing to do with it.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::objects::Objects;
use super::references::{Edge, Reference};

/// The object to which a block belongs.
#[derive(Debug, Clone, Copy)]
struct Owner {
    object: u32,
    /// True if this is known only by words.
    is_loose: bool,
}

/// An object whose fields lead to a block, of whose contents only words are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// The block's index.
    pub(super) block: usize,
    pub(super) object: u32,
}

/// For each block the object to which it belongs.
pub(super) struct Owners(Vec<Option<Owner>>);

impl Owners {
    pub(super) fn new(blocks: usize) -> Self {
        Self(vec![None; blocks])
    }

    /// The object to which a block belongs; `None` if that is not known, and if the block has an object.
    pub(super) fn of(&self, block: usize) -> Option<u32> {
        self.0.get(block).copied().flatten().map(|owner| owner.object)
    }

    /// Notes an owner that is known by its layout, unless there is one already.
    pub(super) fn note(&mut self, block: usize, object: u32) {
        let slot = &mut self.0[block];
        if slot.is_none_or(|owner| owner.is_loose) {
            *slot = Some(Owner { object, is_loose: false });
        }
    }

    /// Gives the blocks of claims, and those to which their words lead, to objects. Calls `visit` with each object to which the
    /// words of these blocks lead and of which `wants` is true, and with the owner. Each block is read once.
    ///
    /// - A block to which a field of an object leads belongs to that object. If the field was never set, this is wrong, and so
    ///   is the owner of what only this block leads to.
    /// - Other blocks that lead to each other (a strongly connected component; the nodes of a list with links in both
    ///   directions) belong together, to the object with most words that lead into them from outside: a word that is left is
    ///   one, and an owner has at least as many.
    /// - Of several such objects, they belong to the one that has most blocks already, because the chain that leads to their
    ///   middle is longer than a word that does; otherwise to the one whose claim comes first.
    pub(super) fn give(
        &mut self,
        claims: &[Claim],
        objects: &Objects<'_>,
        wants: impl Fn(u32) -> bool,
        mut visit: impl FnMut(u32, u32, Edge),
    ) {
        let claimed = self.give_claimed(claims);
        let mut places = HashMap::new();
        for (place, claim) in claims.iter().enumerate() {
            places.entry(claim.object).or_insert(place);
        }
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for &block in &claimed {
            *counts.entry(self.of(block).unwrap_or(0)).or_default() += 1;
        }
        let words = self.read(claimed, objects, wants);
        // They come in reverse topological order.
        for group in kosaraju_scc(&words.graph).into_iter().rev() {
            let mut votes: HashMap<u32, usize> = HashMap::new();
            for &node in &group {
                let before = words.graph.neighbors_directed(node, Direction::Incoming);
                let before = before.filter_map(|from| self.of(words.graph[from]));
                for object in words.entries.get(&node).into_iter().flatten().copied().chain(before) {
                    *votes.entry(object).or_default() += 1;
                }
            }
            let most = |(object, words): &(u32, usize)| {
                (*words, counts.get(object).copied(), Reverse(places.get(object).copied()))
            };
            let Some((object, _)) = votes.into_iter().max_by_key(most) else { continue };
            *counts.entry(object).or_default() += group.len();
            for node in group {
                self.0[words.graph[node]] = Some(Owner { object, is_loose: true });
            }
        }
        for (block, target) in words.references {
            if let Some(object) = self.of(block) {
                visit(object, target, Edge::Loose);
            }
        }
    }

    /// Gives each block of claims to the object with most claims on it, or to the one that comes first. Returns the blocks, each
    /// once.
    fn give_claimed(&mut self, claims: &[Claim]) -> Vec<usize> {
        let mut counts: HashMap<(usize, u32), usize> = HashMap::new();
        let free = || claims.iter().filter(|claim| self.0[claim.block].is_none());
        for claim in free() {
            *counts.entry((claim.block, claim.object)).or_default() += 1;
        }
        let mut best: HashMap<usize, (usize, u32)> = HashMap::new();
        let mut claimed = Vec::new();
        for claim in free() {
            let count = counts[&(claim.block, claim.object)];
            match best.entry(claim.block) {
                Entry::Vacant(entry) => {
                    entry.insert((count, claim.object));
                    claimed.push(claim.block);
                }
                Entry::Occupied(mut entry) if entry.get().0 < count => drop(entry.insert((count, claim.object))),
                Entry::Occupied(_) => {}
            }
        }
        for (block, (_, object)) in best {
            self.0[block] = Some(Owner { object, is_loose: true });
        }
        claimed
    }

    /// Reads the words of blocks that have been given, then of those to which they lead and that belong to nobody yet: first all
    /// that are one step away.
    fn read(&self, claimed: Vec<usize>, objects: &Objects<'_>, wants: impl Fn(u32) -> bool) -> Words {
        let mut words = Words::default();
        let (mut nodes, mut seen, mut next) = (HashMap::new(), HashSet::new(), 0);
        let mut claimed = claimed.into_iter();
        loop {
            let (block, from) = match claimed.next() {
                Some(block) => (block, None),
                None if next < words.graph.node_count() => {
                    next += 1;
                    let node = NodeIndex::new(next - 1);
                    (words.graph[node], Some(node))
                }
                None => return words,
            };
            objects.words_of(objects.blocks().blocks[block], &mut |reference| match reference {
                Reference::Object(target, _) => {
                    if wants(target) && seen.insert(target) {
                        words.references.push((block, target));
                    }
                }
                Reference::Words(target) if self.0[target].is_none() => {
                    let node = match nodes.entry(target) {
                        Entry::Occupied(entry) => *entry.get(),
                        Entry::Vacant(entry) => *entry.insert(words.graph.add_node(target)),
                    };
                    match from {
                        Some(from) => drop(words.graph.add_edge(from, node, ())),
                        None => words.entries.entry(node).or_default().extend(self.of(block)),
                    }
                }
                Reference::Words(_) | Reference::Storage(_) => {}
            });
        }
    }
}

/// What the words of blocks lead to.
#[derive(Default)]
struct Words {
    /// The blocks to which no field leads, by index, and their words that lead to others of them.
    graph: DiGraph<usize, ()>,
    /// The owners of the other blocks, for each of their words that leads to one of the graph.
    entries: HashMap<NodeIndex, Vec<u32>>,
    /// Objects, each with the first block whose words lead to it.
    references: Vec<(usize, u32)>,
}
