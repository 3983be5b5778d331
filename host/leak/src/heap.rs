//! The guest's heap: reads the chunks of dlmalloc in linear memory, from the first chunk to the top chunk.
//!
//! Two builds of dlmalloc 2.8.6 are in use. wasi-libc's build in C serves Rust for `wasm32-wasip2` and C guests: its
//! chunks are aligned to 16 bytes and begin after the statics. Rust's own build serves `wasm32-unknown-unknown`: its
//! chunks are aligned to 8 bytes and begin at a page that it grew. Both have the same chunk layout: a word that belongs
//! to the previous chunk, then `size | flags`, then the caller's bytes ("Doug Lea's malloc", `malloc.c`, "Chunk
//! representations"). The address of the first chunk is not recorded anywhere, so it is searched for. A
//! chain of sizes with consistent flags leads to a top chunk that ends with the memory only if it begins at the first
//! chunk. `heap_chains` follows such chains, each chunk once.

pub use super::chunks::word;
pub(super) use super::chunks::{
    Chunk, FENCEPOST, FLAGS, GRANULE, HEADER, IN_USE, LARGEST_TOP_FOOT, PAGE, PREVIOUS_IN_USE, SMALLEST, SegmentEnd,
    is_plausible, length,
};
use super::heap_chains::Chains;

/// Bytes of an allocated chunk that the caller cannot use: the size word.
const OVERHEAD: u32 = 4;

/// An allocation that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Address of the caller's first byte.
    pub address: u32,
    /// Bytes of the whole chunk, including the size word.
    pub size: u32,
}

impl Block {
    /// Bytes that the caller may use.
    pub fn usable(&self) -> u32 {
        self.size - OVERHEAD
    }

    /// The addresses of the bytes that the caller may use.
    pub(super) fn bytes(&self) -> std::ops::Range<u32> {
        self.address..self.address.saturating_add(self.usable())
    }

    /// Returns true if the block contains an address. The last word, which is also the first word of the next chunk, is
    /// excluded, because the allocator's own pointers refer to it.
    pub fn contains(&self, address: u32) -> bool {
        address >= self.address && address - self.address < self.size - HEADER
    }
}

/// A heap that was found in linear memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    pub(super) start: u32,
}

/// The blocks in use at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Sorted by address.
    pub blocks: Vec<Block>,
    /// Sum of the blocks' sizes.
    pub bytes: u64,
    /// Bytes of linear memory that the heap's segments cover.
    pub covered: u64,
}

impl Blocks {
    /// The block that contains an address, with its index.
    pub fn holding(&self, address: u32) -> Option<(usize, Block)> {
        let after = self.blocks.partition_point(|block| block.address <= address);
        let index = after.checked_sub(1)?;
        Some((index, self.blocks[index])).filter(|(_, block)| block.contains(address))
    }
}

impl Heap {
    /// Searches for dlmalloc's heap in `memory`, starting at the address `from`. `None` if there is no such heap:
    /// nothing has been allocated yet, or the guest uses another allocator. Takes time linear in the memory, whatever the
    /// guest wrote there.
    pub fn find(memory: &[u8], from: u32) -> Option<Self> {
        let end = length(memory);
        let mut chains = Chains::new(memory);
        let mut start = from.checked_next_multiple_of(GRANULE)?;
        while start < end.saturating_sub(SMALLEST) {
            // A cheap check first, because almost every address fails it.
            if is_plausible(memory, start) && chains.lead_to_top(start) {
                return Some(Self { start });
            }
            start += GRANULE;
        }
        None
    }

    /// Address of the first chunk. The statics end before it.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Every block in use. `None` if the chain of chunks is broken: the heap is corrupt, or it is not a dlmalloc heap.
    pub fn walk(&self, memory: &[u8]) -> Option<Blocks> {
        let mut blocks = Blocks::default();
        let mut chains = Chains::new(memory);
        let mut next = Some(self.start);
        let mut has_top = false;
        while let Some(start) = next {
            let segment = walk_segment(memory, start, &mut blocks)?;
            has_top |= segment.ends_with_top;
            blocks.covered += u64::from(segment.end - start);
            next = chains.next_segment(segment.end);
        }
        has_top.then_some(blocks)
    }
}

/// Walks one segment and adds its blocks. `None` if the chain of chunks is broken.
fn walk_segment(memory: &[u8], start: u32, blocks: &mut Blocks) -> Option<SegmentEnd> {
    let mut chunk = start;
    let mut previous_in_use = true;
    loop {
        match Chunk::read(memory, chunk, previous_in_use)? {
            Chunk::Last(segment) => return Some(segment),
            Chunk::Chunk { size, in_use } => {
                if in_use {
                    blocks.blocks.push(Block { address: chunk + HEADER, size });
                    blocks.bytes += u64::from(size);
                }
                previous_in_use = in_use;
                chunk += size;
            }
        }
    }
}

#[cfg(test)]
mod tests;
