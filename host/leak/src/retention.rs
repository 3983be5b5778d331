//! Who holds what survives? A conservative scan: every aligned word of the statics and of the live stack that is an
//! address inside a block counts as a reference to it, and so does every such word inside a block that is reached.
//!
//! ("Conservative" as in Boehm and Weiser, "Garbage Collection in an Uncooperative Environment", 1988: a number that
//! happens to be an address is taken for one. So the report counts how many blocks hang on the like of a chain, and shows
//! the one that holds most.)
//!
//! No roots are: constants, which still have the value that the linker gave them; the stack below the stack pointer, for what stands there is dead; and the allocator's own state,
//! whose pointers lead to free chunks (where it has no name, a stale one of them may lead to a block or two).

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use serde::Serialize;

use super::debug_info::DebugInfo;
use super::heap::{Block, Blocks, Heap, word};
use super::module::CoreModule;

/// A chain from a root to a block, root first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Chain {
    /// What the chain begins at.
    pub root: Root,
    /// The blocks from the first that the root refers to, to the block that is held.
    pub blocks: Vec<Link>,
}

/// One block of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Link {
    /// Bytes of the block.
    pub size: u32,
}

/// Where a chain begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Root {
    /// A static that DWARF names.
    Static {
        /// Its name.
        name: String,
    },
    /// A static without a name.
    Address {
        /// Its address.
        address: u32,
    },
    /// A word of the live stack.
    Stack,
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static { name } => write!(f, "static {name}"),
            Self::Address { address } => write!(f, "static at {address:#x}"),
            Self::Stack => f.write_str("the live stack"),
        }
    }
}

/// The references between blocks at one moment.
pub struct References {
    /// For each block the word that led to it first, breadth first from the roots.
    reached: Vec<Option<From>>,
    /// Whether any block refers to it.
    referred: Vec<bool>,
    blocks: Vec<Block>,
    roots: Vec<Root>,
}

#[derive(Debug, Clone, Copy)]
enum From {
    Root(usize),
    Block(usize),
}

/// What the scan has to know of the memory beside the blocks.
pub struct Layout<'a, 'd> {
    /// The linear memory.
    pub memory: &'a [u8],
    /// Where statics lie: from the first of them to the heap.
    pub statics: Range<u32>,
    /// The live part of the stack.
    pub stack: Range<u32>,
    /// The core module: a word that still has its initial value is no reference to what was allocated since.
    pub module: &'a CoreModule,
    /// DWARF, for names.
    pub debug_info: &'a DebugInfo<'d>,
}

impl References {
    /// Scans the memory. `heap` is where the blocks lie.
    pub fn scan(layout: &Layout<'_, '_>, heap: Heap, blocks: &Blocks) -> Self {
        let mut this = Self {
            reached: vec![None; blocks.blocks.len()],
            referred: vec![false; blocks.blocks.len()],
            blocks: blocks.blocks.clone(),
            roots: Vec::new(),
        };
        let mut root_indices: HashMap<Root, usize> = HashMap::new();
        // References to a block's beginning go first, for almost all are; those into its middle (hash tables have
        // such) only lead to what nothing else leads to.
        for exact in [true, false] {
            let mut queue = VecDeque::new();
            for range in [layout.statics.clone(), layout.stack.clone()] {
                let is_stack = range == layout.stack;
                for address in words(range) {
                    let Some(target) = target(layout.memory, address, heap, blocks, exact) else { continue };
                    if layout.module.initial_word(address) == word(layout.memory, address) {
                        continue;
                    }
                    if this.reached[target].is_none() {
                        let Some(root) = root(layout.debug_info, address, is_stack) else { continue };
                        let index = *root_indices.entry(root.clone()).or_insert_with(|| {
                            this.roots.push(root);
                            this.roots.len() - 1
                        });
                        this.reached[target] = Some(From::Root(index));
                        queue.push_back(target);
                    }
                }
            }
            if !exact {
                // What the exact references reached may hold the rest by inexact ones.
                queue.extend((0..blocks.blocks.len()).filter(|&index| this.reached[index].is_some()));
            }
            while let Some(source) = queue.pop_front() {
                let block = blocks.blocks[source];
                for address in words(block.address..block.address + block.usable()) {
                    let Some(target) = target(layout.memory, address, heap, blocks, exact) else { continue };
                    if this.reached[target].is_none() {
                        this.reached[target] = Some(From::Block(source));
                        queue.push_back(target);
                    }
                }
            }
        }
        for (source, block) in blocks.blocks.iter().enumerate() {
            // Only a dead block's references are left to be looked at: for rings.
            if this.reached[source].is_some() {
                continue;
            }
            for address in words(block.address..block.address + block.usable()) {
                if let Some(target) = target(layout.memory, address, heap, blocks, true) {
                    this.referred[target] = true;
                }
            }
        }
        this
    }

    /// The chain that leads to a block by its index; `None` where none does.
    pub fn chain(&self, index: usize) -> Option<Chain> {
        let mut links = vec![Link { size: self.blocks[index].size }];
        let mut at = index;
        loop {
            match self.reached[at]? {
                From::Root(root) => {
                    links.reverse();
                    return Some(Chain { root: self.roots[root].clone(), blocks: links });
                }
                From::Block(source) => {
                    links.push(Link { size: self.blocks[source].size });
                    at = source;
                }
            }
        }
    }

    /// Whether a block that nothing leads to is at least referred to by another such block: a ring of references.
    pub fn is_in_ring(&self, index: usize) -> bool {
        self.reached[index].is_none() && self.referred[index]
    }
}

fn words(range: Range<u32>) -> impl Iterator<Item = u32> {
    (range.start.next_multiple_of(4)..range.end).step_by(4)
}

fn target(memory: &[u8], address: u32, heap: Heap, blocks: &Blocks, exact: bool) -> Option<usize> {
    let value = word(memory, address)?;
    if value < heap.start() || value as usize >= memory.len() {
        return None;
    }
    let (index, block) = blocks.holding(value)?;
    (!exact || block.address == value).then_some(index)
}

/// The root that a word is part of; `None` for the allocator's.
fn root(debug_info: &DebugInfo<'_>, address: u32, is_stack: bool) -> Option<Root> {
    /// dlmalloc's state and its parameters, as C names them.
    const OF_THE_ALLOCATOR: [&str; 2] = ["_gm_", "mparams"];
    match debug_info.static_at(address) {
        _ if is_stack => Some(Root::Stack),
        Some(known) if OF_THE_ALLOCATOR.contains(&known.name.as_str()) => None,
        Some(known) => Some(Root::Static { name: known.name.clone() }),
        None => Some(Root::Address { address }),
    }
}
