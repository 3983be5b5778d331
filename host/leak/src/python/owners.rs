//! The objects to which blocks without an object belong.
//!
//! Some blocks are known by the layout of their object. Of the rest only words are known, and some words are left from what
//! was in a block before: such a word seems to lead to something, although its owner has nothing to do with it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

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
    /// words of these blocks lead, and with the owner. Each block is read once.
    ///
    /// Blocks that lead to each other (a strongly connected component; the nodes of a list with links in both directions)
    /// belong together, to the object with most words that lead into them from outside: a word that is left is one, and an
    /// owner has at least as many. Of several such objects, to the one that has most blocks already: the chain that leads
    /// to its middle is longer than a word that does. Otherwise to the one whose claim comes first.
    pub(super) fn give(&mut self, claims: &[Claim], objects: &Objects<'_>, mut visit: impl FnMut(u32, u32, Edge)) {
        let Words { graph, references, claimants } = self.read(claims, objects);
        let mut places = HashMap::new();
        for (place, claim) in claims.iter().enumerate() {
            places.entry(claim.object).or_insert(place);
        }
        let mut counts: HashMap<u32, usize> = HashMap::new();
        // They come in reverse topological order.
        for group in kosaraju_scc(&graph).into_iter().rev() {
            let mut words: HashMap<u32, usize> = HashMap::new();
            for &node in &group {
                let claimed = claimants.get(&node).into_iter().flatten().copied();
                let outside =
                    graph.neighbors_directed(node, Direction::Incoming).filter_map(|from| self.of(graph[from]));
                for object in claimed.chain(outside) {
                    *words.entry(object).or_default() += 1;
                }
            }
            let most = |(object, words): &(u32, usize)| {
                (*words, counts.get(object).copied(), Reverse(places.get(object).copied()))
            };
            let Some((object, _)) = words.into_iter().max_by_key(most) else { continue };
            *counts.entry(object).or_default() += group.len();
            for node in group {
                self.0[graph[node]] = Some(Owner { object, is_loose: true });
            }
        }
        for (node, target, edge) in references {
            if let Some(object) = self.of(graph[node]) {
                visit(object, target, edge);
            }
        }
    }

    /// Reads the words of the blocks that belong to nobody yet, from those of claims on: first all that are one step away.
    fn read(&self, claims: &[Claim], objects: &Objects<'_>) -> Words {
        let mut words = Words::default();
        let mut nodes = HashMap::new();
        for claim in claims.iter().filter(|claim| self.0[claim.block].is_none()) {
            let node = *nodes.entry(claim.block).or_insert_with(|| words.graph.add_node(claim.block));
            words.claimants.entry(node).or_default().push(claim.object);
        }
        let mut next = 0;
        while next < words.graph.node_count() {
            let node = NodeIndex::new(next);
            let block = objects.blocks().blocks[words.graph[node]];
            objects.words_of(block, &mut |reference| match reference {
                Reference::Object(target, edge) => words.references.push((node, target, edge)),
                Reference::Words(target) if self.0[target].is_none() => {
                    let target = match nodes.entry(target) {
                        Entry::Occupied(entry) => *entry.get(),
                        Entry::Vacant(entry) => *entry.insert(words.graph.add_node(target)),
                    };
                    words.graph.add_edge(node, target, ());
                }
                Reference::Words(_) | Reference::Storage(_) => {}
            });
            next += 1;
        }
        words
    }
}

/// What the words of blocks lead to.
#[derive(Default)]
struct Words {
    /// The blocks, by index, and their words that lead to others of them.
    graph: DiGraph<usize, ()>,
    /// Blocks, and the objects to which they lead.
    references: Vec<(NodeIndex, u32, Edge)>,
    /// The objects whose fields lead to a block.
    claimants: HashMap<NodeIndex, Vec<u32>>,
}
