//! The heap of a guest as its allocator left it in linear memory: dlmalloc's chunks, walked from the first to the top.
//!
//! Two builds of dlmalloc 2.8.6 are in use: wasi-libc's in C (what Rust for `wasm32-wasip2` and C guests have), with
//! chunks of 16 bytes' alignment that begin after the statics, and Rust's own for `wasm32-unknown-unknown`, with 8
//! bytes' alignment, that begins at a page it grew. Both have the same chunk: a word that belongs to the chunk
//! before, then `size | flags`, then the caller's bytes ("Doug Lea's malloc", `malloc.c`, "Chunk representations").
//! Nothing says where the first chunk is, so it is looked for: only from there does a chain of sizes lead, with
//! every flag in its place, to a top that ends with the memory.

/// This chunk's predecessor is in use.
const PREVIOUS_IN_USE: u32 = 1;
/// This chunk is in use.
const IN_USE: u32 = 2;
const FLAGS: u32 = 7;
/// What marks the end of a segment that something else's memory follows.
const FENCEPOST: u32 = 7;
/// Four words: a free chunk holds its links.
const SMALLEST: u32 = 16;
/// The space that is kept after the top chunk, at most: 40 bytes in Rust's build, 56 in C's.
const LARGEST_TOP_FOOT: u32 = 128;
const PAGE: u32 = 64 << 10;
/// The caller's bytes begin after two words.
const HEADER: u32 = 8;
/// Of an allocated chunk the caller may use all but its own word of size.
const OVERHEAD: u32 = 4;

/// An allocation that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Where the caller's bytes begin.
    pub address: u32,
    /// Bytes that the allocator gives it, its own word included: what it costs.
    pub size: u32,
}

impl Block {
    /// The bytes that its owner may use.
    pub fn usable(&self) -> u32 {
        self.size - OVERHEAD
    }

    /// Whether an address lies in it. Its last word, which is also the first of the next chunk, is left out: the
    /// allocator's own pointers go there.
    pub fn contains(&self, address: u32) -> bool {
        address >= self.address && address - self.address < self.size - HEADER
    }
}

/// Where the heap begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    start: u32,
}

/// The blocks in use, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    /// By address.
    pub blocks: Vec<Block>,
    /// Their sizes' sum.
    pub bytes: u64,
}

impl Blocks {
    /// The block that an address lies in, with its index.
    pub fn holding(&self, address: u32) -> Option<(usize, Block)> {
        let after = self.blocks.partition_point(|block| block.address <= address);
        let index = after.checked_sub(1)?;
        Some((index, self.blocks[index])).filter(|(_, block)| block.contains(address))
    }
}

impl Heap {
    /// Looks for dlmalloc's heap in `memory`, from the address `from` where statics begin. `None` where there is no
    /// such heap: nothing has been allocated yet, or another allocator is at work.
    pub fn find(memory: &[u8], from: u32) -> Option<Self> {
        let end = u32::try_from(memory.len()).unwrap_or(u32::MAX);
        let mut start = from.next_multiple_of(8);
        while start < end.saturating_sub(SMALLEST) {
            let head = word(memory, start + 4)?;
            // Cheap tests first: almost every address fails them.
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

    /// Where the first chunk is: statics end before it.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Every block in use, or `None` where the chain breaks: the heap was damaged, or is none.
    pub fn walk(&self, memory: &[u8]) -> Option<Blocks> {
        let mut blocks = Blocks::default();
        let mut segment = Some(self.start);
        let mut reached_a_top = false;
        while let Some(start) = segment {
            let walked = walk_segment(memory, start, &mut blocks)?;
            reached_a_top |= walked.is_top;
            segment = next_segment(memory, walked.end);
        }
        reached_a_top.then_some(blocks)
    }
}

/// A segment that was walked.
struct Walked {
    /// Where it ends.
    end: u32,
    /// Whether that is at the top chunk, from which new memory is taken.
    is_top: bool,
}

/// Walks one segment and adds its blocks.
fn walk_segment(memory: &[u8], start: u32, blocks: &mut Blocks) -> Option<Walked> {
    let end = u32::try_from(memory.len()).unwrap_or(u32::MAX);
    let mut chunk = start;
    let mut previous_in_use = true;
    loop {
        let head = word(memory, chunk.checked_add(4)?)?;
        if head == FENCEPOST {
            return Some(Walked { end: chunk + HEADER, is_top: false });
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
            // Only after the top does a word without flags stand where a chunk's size would: the top's foot, which
            // reaches to the end of the segment, and memory is had in whole pages.
            if foot & FLAGS == 0 && (SMALLEST..=LARGEST_TOP_FOOT).contains(&foot) {
                let end = next.checked_add(foot)?;
                return end.is_multiple_of(PAGE).then_some(Walked { end, is_top: true });
            }
            // A free chunk's size stands once more at its end.
            if word(memory, next)? != size {
                return None;
            }
        }
        previous_in_use = in_use;
        chunk = next;
    }
}

/// After one segment another may begin, at a page: something else grew the memory between them.
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

/// The little-endian word at an address.
pub fn word(memory: &[u8], address: u32) -> Option<u32> {
    let address = address as usize;
    Some(u32::from_le_bytes(memory.get(address..address.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with a chunk in use, one free and one in use, then the top, as dlmalloc leaves them; statics before.
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
        assert_eq!(blocks.holding(1072), None, "the next chunk's own word");
    }

    #[test]
    fn a_broken_chain_is_no_heap() {
        let mut memory = page();
        memory[1140] |= PREVIOUS_IN_USE as u8;
        assert_eq!(Heap::find(&memory, 1024).map(|heap| heap.start()), Some(1136), "only what is behind the break");
        memory[PAGE as usize - 52] = 0;
        assert_eq!(Heap::find(&memory, 0), None);
    }

    #[test]
    fn no_bytes_make_the_walk_fail_otherwise_than_by_finding_nothing() {
        // A linear congruential generator (Knuth's constants) is random enough, and the same every time.
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
