//! Chains of chunks: what each address leads to, so that no chunk is read again and again. A guest can fill its memory with
//! words of which each looks like the head of a chunk; then many chains join, and following each to its end would take
//! time quadratic in the memory.

use super::chunks::{Chunk, GRANULE, PAGE, SegmentEnd, is_plausible, length};

/// What is known about a chunk if the chunk before it is free. The next two bits say the same for a chunk after one in use.
const BROKEN: u8 = 1;
const NO_TOP: u8 = 2;
/// What is known about a page and all pages after it: whether they have a segment with the top chunk.
const HAS_TOP: u8 = 1 << 4;
const HAS_NO_TOP: u8 = 1 << 5;

/// What is known about the chains of chunks in a memory.
pub(super) struct Chains<'m> {
    memory: &'m [u8],
    /// What is known, for each granule; empty while nothing is known. The bits about a page are at its first granule.
    known: Vec<u8>,
    /// The chunks of the chain that is followed.
    path: Vec<(u32, bool)>,
}

/// Where a chain leads to.
enum Lead {
    /// A chunk contradicts its neighbour.
    Broken,
    /// The end of the segment, after which no top chunk comes: this was found before.
    NoTop,
    End(SegmentEnd),
}

impl<'m> Chains<'m> {
    pub(super) fn new(memory: &'m [u8]) -> Self {
        Self { memory, known: Vec::new(), path: Vec::new() }
    }

    /// Returns true if a segment begins at `start`, and it or one after it ends with the top chunk.
    pub(super) fn lead_to_top(&mut self, start: u32) -> bool {
        let leads = match self.follow(start) {
            Lead::Broken | Lead::NoTop => false,
            Lead::End(segment) => segment.ends_with_top || self.has_top_after(segment.end),
        };
        if !leads {
            self.mark_path(NO_TOP);
        }
        leads
    }

    /// The start of the next segment after `end`, if there is one. It begins at a page boundary, after memory that was
    /// grown by other code.
    pub(super) fn next_segment(&mut self, end: u32) -> Option<u32> {
        let mut page = end.checked_next_multiple_of(PAGE)?;
        while page < length(self.memory) {
            if let Some(start) = self.segment_at(page) {
                return Some(start);
            }
            page = page.checked_add(PAGE)?;
        }
        None
    }

    /// The start of the segment that begins with a page.
    fn segment_at(&mut self, page: u32) -> Option<u32> {
        let starts = [page, page + GRANULE];
        starts.into_iter().find(|&start| {
            is_plausible(self.memory, start) && {
                let lead = self.follow(start);
                self.path.clear();
                !matches!(lead, Lead::Broken)
            }
        })
    }

    /// Returns true if one of the segments after `end` ends with the top chunk.
    fn has_top_after(&mut self, end: u32) -> bool {
        let path = std::mem::take(&mut self.path);
        let (mut pages, mut followed) = (Vec::new(), Vec::new());
        let mut next = end.checked_next_multiple_of(PAGE);
        let mut found = false;
        while let Some(page) = next.filter(|&page| page < length(self.memory)) {
            let known = self.get(page);
            if known & (HAS_TOP | HAS_NO_TOP) != 0 {
                found = known & HAS_TOP != 0;
                break;
            }
            pages.push(page);
            let Some(start) = self.segment_at(page) else {
                next = page.checked_add(PAGE);
                continue;
            };
            let lead = self.follow(start);
            followed.append(&mut self.path);
            match lead {
                Lead::End(segment) if segment.ends_with_top => {
                    found = true;
                    break;
                }
                Lead::End(segment) => next = segment.end.checked_next_multiple_of(PAGE),
                Lead::NoTop | Lead::Broken => break,
            }
        }
        for page in pages {
            self.set(page, if found { HAS_TOP } else { HAS_NO_TOP });
        }
        if !found {
            self.path = followed;
            self.mark_path(NO_TOP);
        }
        self.path = path;
        found
    }

    /// Follows the chain of a segment from its start. Afterwards `path` has the chunks of the chain, up to
    /// one whose end was already known.
    fn follow(&mut self, start: u32) -> Lead {
        self.path.clear();
        let (mut chunk, mut previous_in_use) = (start, true);
        loop {
            let known = self.get(chunk) >> shift(previous_in_use);
            let read = if known & BROKEN != 0 { None } else { Chunk::read(self.memory, chunk, previous_in_use) };
            if known & NO_TOP != 0 {
                return Lead::NoTop;
            }
            self.path.push((chunk, previous_in_use));
            match read {
                None => {
                    self.mark_path(BROKEN);
                    return Lead::Broken;
                }
                Some(Chunk::Last(segment)) => return Lead::End(segment),
                Some(Chunk::Chunk { size, in_use }) => {
                    previous_in_use = in_use;
                    chunk += size;
                }
            }
        }
    }

    /// Notes something about all chunks of the path.
    fn mark_path(&mut self, what: u8) {
        for (chunk, previous_in_use) in std::mem::take(&mut self.path) {
            self.set(chunk, what << shift(previous_in_use));
        }
    }

    fn get(&self, address: u32) -> u8 {
        self.known.get((address / GRANULE) as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, address: u32, what: u8) {
        if self.known.is_empty() {
            // Zeroed memory takes no physical memory until it is written.
            self.known = vec![0; self.memory.len() / GRANULE as usize + 1];
        }
        if let Some(known) = self.known.get_mut((address / GRANULE) as usize) {
            *known |= what;
        }
    }
}

/// The place of the bits about a chunk.
fn shift(previous_in_use: bool) -> u8 {
    if previous_in_use { 2 } else { 0 }
}
