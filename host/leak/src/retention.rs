//! What holds the survivors? A conservative scan: each aligned word of the statics and of the live stack counts as a
//! reference to a block if its value is an address inside the block. Words inside reached blocks count as well.
//!
//! ("Conservative" as in Boehm and Weiser, "Garbage Collection in an Uncooperative Environment", 1988: a number that
//! happens to equal an address counts as a reference. Therefore the report counts the blocks that are held by similar
//! chains, and shows the chains that hold most bytes first.)
//!
//! Not treated as roots:
//! - constants, which still have the value that the linker gave them;
//! - the stack below the stack pointer, because its contents are dead;
//! - the allocator's own state, whose pointers lead to free chunks. If it has no name in DWARF, it is not recognised,
//!   and a stale pointer in it may lead to one or two blocks.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use serde::Serialize;

use super::debug_info::DebugInfo;
use super::heap::{Block, Blocks, Heap, length, word};
use super::module::CoreModule;

/// Bytes of a reference.
const WORD: u32 = 4;

/// A chain of references from a root to a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Chain {
    /// The start of the chain.
    pub root: Root,
    /// The blocks, from the one that the root refers to, to the one that is held.
    pub blocks: Vec<Link>,
}

/// One block of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Link {
    /// Bytes of the block.
    pub size: u32,
}

/// The start of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Root {
    /// A static with a name in DWARF.
    Static {
        /// The static's name.
        name: String,
    },
    /// A global of a Python module.
    PythonGlobal {
        /// The global's name with its module.
        name: String,
    },
    /// A static without a name.
    Address {
        /// The word's address.
        address: u32,
    },
    /// A word of the live stack.
    Stack,
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static { name } => write!(f, "static {name}"),
            Self::PythonGlobal { name } => f.write_str(name),
            Self::Address { address } => write!(f, "static at {address:#x}"),
            Self::Stack => f.write_str("the live stack"),
        }
    }
}

/// The references between blocks at one moment.
pub struct References {
    /// For each block what referred to it first, in a breadth-first search from the roots; `None` if it is unreachable.
    reached: Vec<Option<Referrer>>,
    /// For each block, true if an unreachable block refers to it.
    referred: Vec<bool>,
    blocks: Vec<Block>,
    roots: Vec<Root>,
}

/// What holds a block: a root, and the number of steps from it. Consecutive links of the same size are one step: a linked
/// list of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    root: usize,
    steps: usize,
}

/// An index into the roots or into the blocks.
#[derive(Debug, Clone, Copy)]
enum Referrer {
    Root(usize),
    Block(usize),
}

/// The memory layout that the scan needs in addition to the blocks.
pub struct Layout<'a, 'd> {
    /// The linear memory.
    pub memory: &'a [u8],
    /// The addresses of the statics, from the first static to the heap.
    pub statics: Range<u32>,
    /// The live part of the stack.
    pub stack: Range<u32>,
    /// The core module: a word that still has its initial value is not a reference to a later allocation.
    pub module: &'a CoreModule,
    /// DWARF, for names.
    pub debug_info: &'a DebugInfo<'d>,
}

impl References {
    /// Scans the memory for references to `blocks`, which are in `heap`.
    pub fn scan(layout: &Layout<'_, '_>, heap: Heap, blocks: &Blocks) -> Self {
        let mut this = Self {
            reached: vec![None; blocks.blocks.len()],
            referred: vec![false; blocks.blocks.len()],
            blocks: blocks.blocks.clone(),
            roots: Vec::new(),
        };
        let mut root_indices: HashMap<Root, usize> = HashMap::new();
        // The initial values of a snapshot are what the program had written before.
        let is_snapshot = layout.module.data.iter().any(|segment| segment.end() > heap.start());
        // Exact references, to the beginning of a block, take precedence because almost all references are exact.
        // References into the middle (hash tables have them) only add blocks that are not reached otherwise.
        for exact in [true, false] {
            let mut queue = VecDeque::new();
            for range in [layout.statics.clone(), layout.stack.clone()] {
                let is_stack = range == layout.stack;
                for address in words(range, layout.memory) {
                    let Some(target) = target(layout.memory, address, heap, blocks, exact) else { continue };
                    if !is_snapshot && layout.module.initial_word(address) == word(layout.memory, address) {
                        continue;
                    }
                    if this.reached[target].is_none() {
                        let Some(root) = root(layout.debug_info, address, is_stack) else { continue };
                        let index = *root_indices.entry(root.clone()).or_insert_with(|| {
                            this.roots.push(root);
                            this.roots.len() - 1
                        });
                        this.reached[target] = Some(Referrer::Root(index));
                        queue.push_back(target);
                    }
                }
            }
            if !exact {
                // The blocks that are already reached may hold others through inexact references.
                queue.extend((0..blocks.blocks.len()).filter(|&index| this.reached[index].is_some()));
            }
            while let Some(source) = queue.pop_front() {
                let block = blocks.blocks[source];
                for address in words(block.bytes(), layout.memory) {
                    let Some(target) = target(layout.memory, address, heap, blocks, exact) else { continue };
                    if this.reached[target].is_none() {
                        this.reached[target] = Some(Referrer::Block(source));
                        queue.push_back(target);
                    }
                }
            }
        }
        for (source, block) in blocks.blocks.iter().enumerate() {
            // To find rings, only the references of unreachable blocks are needed.
            if this.reached[source].is_some() {
                continue;
            }
            for address in words(block.bytes(), layout.memory) {
                if let Some(target) = target(layout.memory, address, heap, blocks, true) {
                    this.referred[target] = true;
                }
            }
        }
        this
    }

    /// The chain that leads to the block with this index; `None` if it is unreachable.
    pub fn chain(&self, index: usize) -> Option<Chain> {
        let mut links = vec![Link { size: self.blocks[index].size }];
        let mut at = index;
        loop {
            match self.reached[at]? {
                Referrer::Root(root) => {
                    links.reverse();
                    return Some(Chain { root: self.roots[root].clone(), blocks: links });
                }
                Referrer::Block(source) => {
                    links.push(Link { size: self.blocks[source].size });
                    at = source;
                }
            }
        }
    }

    /// For each block what holds it; `None` if it is unreachable.
    pub fn holders(&self) -> Vec<Option<Holder>> {
        let mut found: Vec<Option<Holder>> = vec![None; self.blocks.len()];
        let mut path = Vec::new();
        for index in 0..self.blocks.len() {
            // Up to a block whose holder is known, then back.
            let mut at = index;
            let mut known = loop {
                match (found[at], self.reached[at]) {
                    (Some(holder), _) => break Some((holder, at)),
                    (None, Some(Referrer::Root(root))) => {
                        let holder = Holder { root, steps: 1 };
                        found[at] = Some(holder);
                        break Some((holder, at));
                    }
                    (None, Some(Referrer::Block(source))) => {
                        path.push(at);
                        at = source;
                    }
                    (None, None) => break None,
                }
            };
            while let Some(next) = path.pop() {
                known = known.map(|(holder, source)| {
                    let is_like = self.blocks[source].size == self.blocks[next].size;
                    (Holder { steps: holder.steps + usize::from(!is_like), ..holder }, next)
                });
                found[next] = known.map(|(holder, _)| holder);
            }
        }
        found
    }

    /// Returns true if the block is unreachable and an unreachable block refers to it: a ring of references.
    pub fn is_in_ring(&self, index: usize) -> bool {
        self.reached[index].is_none() && self.referred[index]
    }
}

/// The addresses of the aligned words in a range, as far as the memory goes.
fn words(range: Range<u32>, memory: &[u8]) -> impl Iterator<Item = u32> {
    let end = range.end.min(length(memory));
    (range.start.checked_next_multiple_of(WORD).unwrap_or(end)..end).step_by(WORD as usize)
}

/// The index of the block that the word at `address` refers to. If `exact` is true, only references to the beginning of
/// a block count.
fn target(memory: &[u8], address: u32, heap: Heap, blocks: &Blocks, exact: bool) -> Option<usize> {
    let value = word(memory, address)?;
    if value < heap.start() || value as usize >= memory.len() {
        return None;
    }
    let (index, block) = blocks.holding(value)?;
    (!exact || block.address == value).then_some(index)
}

/// The root that contains the word at `address`; `None` for the allocator's state, and for the area in which bindings
/// return results, which is dead between calls.
fn root(debug_info: &DebugInfo<'_>, address: u32, is_stack: bool) -> Option<Root> {
    /// The names of dlmalloc's state and parameters in C, and of wit-bindgen's return areas in Rust and C.
    const NO_ROOTS: [&str; 4] = ["_gm_", "mparams", "_RET_AREA", "RET_AREA"];
    match debug_info.static_at(address) {
        _ if is_stack => Some(Root::Stack),
        Some(known) if NO_ROOTS.contains(&known.name.rsplit("::").next().unwrap_or_default()) => None,
        Some(known) => Some(Root::Static { name: known.name.clone() }),
        None => Some(Root::Address { address }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranges come from the plugin's file and its stack pointer, so they may exceed the memory.
    #[test]
    fn ranges_end_with_the_memory() {
        let memory = [0; 16];
        assert_eq!(words(5..u32::MAX, &memory).collect::<Vec<_>>(), [8, 12]);
        assert_eq!(words(u32::MAX - 1..u32::MAX, &memory).count(), 0);
        let (after, before) = (12, 4);
        assert_eq!(words(after..before, &memory).count(), 0);
    }
}
