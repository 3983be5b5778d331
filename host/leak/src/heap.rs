//! The guest's heap: reads the chunks of dlmalloc in linear memory, from the first chunk to the top chunk.
//!
//! Two builds of dlmalloc 2.8.6 are in use. wasi-libc's build in C serves Rust for `wasm32-wasip2` and C guests: its
//! chunks are aligned to 16 bytes and begin after the statics. Rust's own build serves `wasm32-unknown-unknown`: its
//! chunks are aligned to 8 bytes and begin at a page that it grew. Both have the same chunk layout: a word that belongs
//! to the previous chunk, then `size | flags`, then the caller's bytes ("Doug Lea's malloc", `malloc.c`, "Chunk
//! representations"). The address of the first chunk is not recorded anywhere, so it is searched for: only from the
//! first chunk does a chain of sizes, with consistent flags, lead to a top chunk that ends with the memory. `heap_chains`
//! follows such chains, each chunk once.

use super::heap_chains::Chains;

/// The alignment of chunks.
pub(super) const GRANULE: u32 = 8;
/// Flag: the previous chunk is in use.
pub(super) const PREVIOUS_IN_USE: u32 = 1;
/// Flag: this chunk is in use.
pub(super) const IN_USE: u32 = 2;
pub(super) const FLAGS: u32 = 7;
/// The size word at the end of a segment that is followed by memory of another owner.
pub(super) const FENCEPOST: u32 = 7;
/// Bytes of the smallest chunk: four words, because a free chunk holds two links.
pub(super) const SMALLEST: u32 = 16;
/// Maximum bytes that are reserved after the top chunk: 40 bytes in Rust's build, 56 in C's.
pub(super) const LARGEST_TOP_FOOT: u32 = 128;
pub(super) const PAGE: u32 = 64 << 10;
/// Offset of the caller's bytes in a chunk: two words.
const HEADER: u32 = 8;
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

/// The end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentEnd {
    /// The address after the segment.
    pub(super) end: u32,
    /// True if the segment ends with the top chunk, from which the allocator takes new memory.
    pub(super) ends_with_top: bool,
}

/// What is at an address of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// A chunk, after which the next one begins.
    Chunk { size: u32, in_use: bool },
    /// The last chunk of a segment.
    Last(SegmentEnd),
}

impl Chunk {
    /// Reads the chunk at an address. `None` if it is none, or if it contradicts the chunk before it.
    pub(super) fn read(memory: &[u8], chunk: u32, previous_in_use: bool) -> Option<Self> {
        let head = word(memory, chunk.checked_add(4)?)?;
        if head == FENCEPOST {
            return Some(Self::Last(SegmentEnd { end: chunk.checked_add(HEADER)?, ends_with_top: false }));
        }
        let size = head & !FLAGS;
        if size < SMALLEST || length(memory).checked_sub(chunk)? < size {
            return None;
        }
        if (head & PREVIOUS_IN_USE != 0) != previous_in_use {
            return None;
        }
        let in_use = head & IN_USE != 0;
        if !in_use {
            let next = chunk + size;
            let foot = word(memory, next.checked_add(4)?)?;
            // Only the foot after the top chunk has a size word without flags. It extends to the end of the segment,
            // which is a page boundary because memory grows by whole pages.
            if foot & FLAGS == 0 && (SMALLEST..=LARGEST_TOP_FOOT).contains(&foot) {
                let end = next.checked_add(foot)?;
                return end.is_multiple_of(PAGE).then_some(Self::Last(SegmentEnd { end, ends_with_top: true }));
            }
            // The size of a free chunk is repeated at its end.
            if word(memory, next)? != size {
                return None;
            }
        }
        Some(Self::Chunk { size, in_use })
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

/// Returns true if a segment may begin at an address.
pub(super) fn is_plausible(memory: &[u8], start: u32) -> bool {
    let head = start.checked_add(4).and_then(|at| word(memory, at)).unwrap_or(0);
    head & PREVIOUS_IN_USE != 0 && head & !FLAGS >= SMALLEST
}

/// The length of a memory as an address.
pub(super) fn length(memory: &[u8]) -> u32 {
    u32::try_from(memory.len()).unwrap_or(u32::MAX)
}

/// Reads the little-endian word at an address.
pub fn word(memory: &[u8], address: u32) -> Option<u32> {
    let address = address as usize;
    Some(u32::from_le_bytes(memory.get(address..address.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
