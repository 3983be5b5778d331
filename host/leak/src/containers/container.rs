//! One container: what is known of it, and what makes blocks that follow each other a container.

use std::ops::Range;

use super::changes::Changes;
use crate::heap::Block;

/// Minimum replacements of a container if nothing else is known of it.
pub(super) const MIN_REPLACEMENTS: usize = 4;
/// Minimum bytes of a container of which few replacements are known, and of steps of one size.
pub(super) const LARGE: u32 = 1_024;
/// Maximum factor between the largest and the smallest ratio of successive sizes: a container grows by a constant factor, or
/// by a constant number of bytes. Blocks of any sizes that only follow each other do not.
pub(super) const SAME_FACTOR: f64 = 1.2;

/// A block that was replaced by a larger one again and again, or an arena.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// The call that made the first block; 0 if it was there before.
    pub(super) since: usize,
    /// For each replacement: the number of calls before it, and the bytes that were full then.
    pub(super) grown: Vec<(usize, u32)>,
    /// Bytes now.
    pub(super) size: u32,
    /// The addresses of its blocks.
    pub blocks: Vec<u32>,
    /// What it contained at its last replacement, up to `MOST_COMPARED` bytes.
    pub(super) beginning: Vec<u8>,
    /// True if most of that is something else now. A queue that was emptied overwrites it; a list that grows keeps it, and a
    /// table only fills its gaps.
    pub(super) is_rewritten: bool,
    /// In which calls its contents changed, since its first replacement.
    pub(super) changes: Changes,
}

/// Most bytes of a container that are compared.
const MOST_COMPARED: usize = 4_096;
/// Minimum share of the words that are others now, in percent: of a table that was enlarged less than half are.
const OTHERS: usize = 60;
/// Bytes of a word.
const WORD: usize = 8;

impl Container {
    /// Notes what the container contains, in the call with this index, in which it was replaced.
    pub(super) fn note(&mut self, call: usize, memory: &[u8]) {
        if let (Some(&(at, full)), &[address]) = (self.grown.last(), &self.blocks[..])
            && at == call
        {
            let contents = memory.get(address as usize..).unwrap_or_default();
            self.beginning = contents[..contents.len().min(full as usize).min(MOST_COMPARED)].to_vec();
            self.is_rewritten = false;
        }
    }

    /// Notes what it contains after these calls.
    pub(super) fn look(&mut self, calls: Range<usize>, memory: &[u8]) {
        let &[address] = &self.blocks[..] else { return };
        // What comes after the usable bytes is the header of the next block.
        let end = address as usize + Block { address, size: self.size }.usable() as usize;
        self.changes.note(calls, memory.get(address as usize..end).unwrap_or_default());
    }

    /// Compares what it contained with what it contains now.
    pub(super) fn compare(&mut self, memory: &[u8]) {
        if let &[address] = &self.blocks[..] {
            let now = memory.get(address as usize..).unwrap_or_default();
            let pairs = self.beginning.chunks_exact(WORD).zip(now.chunks_exact(WORD));
            let others = pairs.filter(|(before, now)| before != now).count();
            self.is_rewritten |= 100 * others > OTHERS * (self.beginning.len() / WORD).max(1);
        }
    }
}
