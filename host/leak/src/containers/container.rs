//! One container: what is known of it, and what makes blocks that follow each other a container.

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
    /// What it contained when it was last looked at, if that is little.
    pub(super) contents: Vec<u8>,
    /// Calls since its first replacement, and those of them that changed its contents.
    pub(super) calls: usize,
    pub(super) changes: usize,
}

/// Most bytes of a container that are compared.
const MOST_COMPARED: usize = 4_096;
/// Bytes of a container up to which its contents are compared after each call. Of a larger one each call counts as a change: it
/// has many entries.
const MOST_WATCHED: usize = 16 << 10;
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

    /// Counts `calls` more calls. They count as changes if the contents are not the same as before them.
    pub(super) fn count(&mut self, calls: usize, memory: &[u8]) {
        self.calls += calls;
        let block = self.blocks.first().map_or(0, |&address| address as usize);
        let now = memory.get(block..block + self.size as usize).unwrap_or_default();
        if now.len() > MOST_WATCHED || now.is_empty() {
            self.changes += calls;
        } else if self.contents != now {
            self.changes += calls;
            self.contents.clear();
            self.contents.extend_from_slice(now);
        }
    }

    /// The entries that came into it before the call with this index, if a call adds at most one; `call` if it was not looked at.
    pub(super) fn entries(&self, call: usize) -> usize {
        match self.calls {
            0 => call,
            calls => call * self.changes / calls,
        }
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
