//! The guest's heap: reads the chunks of dlmalloc in linear memory, from the first chunk to the top chunk.
//!
//! Two builds of dlmalloc 2.8.6 are in use. wasi-libc's build in C serves Rust for `wasm32-wasip2` and C guests: its
//! chunks are aligned to 16 bytes and begin after the statics. Rust's own build serves `wasm32-unknown-unknown`: its
//! chunks are aligned to 8 bytes and begin at a page that it grew. Both have the same chunk layout: a word that belongs
//! to the previous chunk, then `size | flags`, then the caller's bytes ("Doug Lea's malloc", `malloc.c`, "Chunk
//! representations"). The address of the first chunk is not recorded anywhere, so it is searched for: only from the
//! first chunk does a chain of sizes, with consistent flags, lead to a top chunk that ends with the memory.

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
    /// nothing has been allocated yet, or the guest uses another allocator.
    pub fn find(memory: &[u8], from: u32) -> Option<Self> {
        let end = u32::try_from(memory.len()).unwrap_or(u32::MAX);
        let mut start = from.next_multiple_of(8);
        while start < end.saturating_sub(SMALLEST) {
            let head = word(memory, start + 4)?;
            // Cheap checks first, because almost every address fails them.
            let plausible = head & PREVIOUS_IN_USE != 0 && head & !FLAGS >= SMALLEST;
            if plausible && end - start > head & !FLAGS {
                let heap = Self { start };
                if heap.walk(memory).is_some() {
                    return Some(heap);
                }
            }
            start += 8;
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
        let mut next = Some(self.start);
        let mut has_top = false;
        while let Some(start) = next {
            let segment = walk_segment(memory, start, &mut blocks)?;
            has_top |= segment.ends_with_top;
            blocks.covered += u64::from(segment.end - start);
            next = next_segment(memory, segment.end);
        }
        has_top.then_some(blocks)
    }
}

/// The end of a segment.
struct SegmentEnd {
    /// The address after the segment.
    end: u32,
    /// True if the segment ends with the top chunk, from which the allocator takes new memory.
    ends_with_top: bool,
}

/// Walks one segment and adds its blocks. `None` if the chain of chunks is broken.
fn walk_segment(memory: &[u8], start: u32, blocks: &mut Blocks) -> Option<SegmentEnd> {
    let end = u32::try_from(memory.len()).unwrap_or(u32::MAX);
    let mut chunk = start;
    let mut previous_in_use = true;
    loop {
        let head = word(memory, chunk.checked_add(4)?)?;
        if head == FENCEPOST {
            return Some(SegmentEnd { end: chunk + HEADER, ends_with_top: false });
        }
        let size = head & !FLAGS;
        if size < SMALLEST || !size.is_multiple_of(8) || end - chunk < size {
            return None;
        }
        if (head & PREVIOUS_IN_USE != 0) != previous_in_use {
            return None;
        }
        let in_use = head & IN_USE != 0;
        let next = chunk + size;
        if in_use {
            blocks.blocks.push(Block { address: chunk + HEADER, size });
            blocks.bytes += u64::from(size);
        } else {
            let foot = word(memory, next.checked_add(4)?)?;
            // Only the foot after the top chunk has a size word without flags. It extends to the end of the segment,
            // which is a page boundary because memory grows by whole pages.
            if foot & FLAGS == 0 && (SMALLEST..=LARGEST_TOP_FOOT).contains(&foot) {
                let end = next.checked_add(foot)?;
                return end.is_multiple_of(PAGE).then_some(SegmentEnd { end, ends_with_top: true });
            }
            // The size of a free chunk is repeated at its end.
            if word(memory, next)? != size {
                return None;
            }
        }
        previous_in_use = in_use;
        chunk = next;
    }
}

/// The start of the next segment, if there is one. It begins at a page boundary, after memory that was grown by other
/// code.
fn next_segment(memory: &[u8], end: u32) -> Option<u32> {
    let length = u32::try_from(memory.len()).unwrap_or(u32::MAX);
    let mut page = end.checked_next_multiple_of(PAGE)?;
    while page < length {
        for start in [page, page + 8] {
            let mut blocks = Blocks::default();
            let head = word(memory, start + 4).unwrap_or(0);
            let plausible = head & PREVIOUS_IN_USE != 0 && head & !FLAGS >= SMALLEST;
            if plausible && walk_segment(memory, start, &mut blocks).is_some() {
                return Some(start);
            }
        }
        page = page.checked_add(PAGE)?;
    }
    None
}

/// Reads the little-endian word at an address.
pub fn word(memory: &[u8], address: u32) -> Option<u32> {
    let address = address as usize;
    Some(u32::from_le_bytes(memory.get(address..address.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as dlmalloc writes it: statics, a chunk in use, a free chunk, a chunk in use, and the top chunk.
    fn page() -> Vec<u8> {
        let mut memory = vec![0; PAGE as usize];
        let mut put = |address: u32, value: u32| {
            memory[address as usize..address as usize + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(1024 + 4, 48 | IN_USE | PREVIOUS_IN_USE);
        put(1072 + 4, 64 | PREVIOUS_IN_USE);
        put(1136, 64);
        put(1136 + 4, 32 | IN_USE);
        let (top, foot) = (1168, 56);
        put(top + 4, (PAGE - top - foot) | PREVIOUS_IN_USE);
        put(PAGE - foot + 4, foot);
        memory
    }

    #[test]
    fn blocks_in_use_are_found_from_any_earlier_address() {
        let memory = page();
        let heap = Heap::find(&memory, 100).expect("a heap");
        assert_eq!(heap.start(), 1024);
        let blocks = heap.walk(&memory).expect("whole");
        let expected = [Block { address: 1032, size: 48 }, Block { address: 1144, size: 32 }];
        assert_eq!((blocks.blocks.as_slice(), blocks.bytes), (&expected[..], 80));
        assert_eq!(blocks.holding(1040), Some((0, expected[0])));
        assert_eq!(blocks.holding(1072), None, "the first word of the next chunk");
    }

    #[test]
    fn a_broken_chain_is_not_a_heap() {
        let mut memory = page();
        memory[1140] |= PREVIOUS_IN_USE as u8;
        assert_eq!(Heap::find(&memory, 1024).map(|heap| heap.start()), Some(1136), "the part after the break");
        memory[PAGE as usize - 52] = 0;
        assert_eq!(Heap::find(&memory, 0), None);
    }

    #[test]
    fn random_bytes_never_make_the_walk_panic() {
        // A linear congruential generator (Knuth's constants) is random enough and reproducible.
        let mut state = 1u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        for length in [0, 1, 7, 8, 20, 1000, PAGE as usize] {
            let memory: Vec<u8> = (0..length).map(|_| byte() & byte()).collect();
            let _ = Heap::find(&memory, 0);
            let _ = Heap { start: 0 }.walk(&memory);
        }
    }
}
