//! One chunk of dlmalloc in linear memory, and the words of a memory.

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
pub(super) const HEADER: u32 = 8;

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
    /// Reads the chunk at an address. `None` if there is none, or if it contradicts the chunk before it.
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
