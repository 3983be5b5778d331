//! How many calls brought something into a container: a cache of some hundred entries is not full when it has seen fewer.
//!
//! How large what a call brings is, the contents say: between two replacements, as many calls brought something as changed words
//! that had not changed since. (A time of the last use in an entry counts once or twice.) A change is not seen if the memory had
//! the same bytes before, so the interval in which an entry seems smallest counts.

use std::ops::Range;

use fixedbitset::FixedBitSet;

/// Bytes of a container up to which its contents are compared after each call.
const MOST_WATCHED: usize = 64 << 10;
/// Bytes of a word.
const WORD: usize = 4;

/// In which calls the contents of a container changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    /// What it contained when it was last looked at, and the words that have changed since its last replacement.
    contents: Vec<u8>,
    changed: FixedBitSet,
    /// The calls that changed a word for the first time, or replaced it.
    calls: FixedBitSet,
}

impl Changes {
    /// Notes what the container contains after these calls.
    pub(super) fn note(&mut self, calls: Range<usize>, now: &[u8]) {
        if now.len() > MOST_WATCHED {
            self.contents.clear();
            return;
        }
        if self.contents == now {
            return;
        }
        let mut is_new = false;
        if self.contents.len() == now.len() {
            let words = self.contents.chunks(WORD).zip(now.chunks(WORD)).enumerate();
            for (word, _) in words.filter(|(_, (before, now))| before != now) {
                is_new |= !self.changed.put(word);
            }
        } else {
            is_new = true;
            self.changed.clear();
            self.changed.grow(now.len().div_ceil(WORD));
        }
        if is_new {
            self.calls.grow(calls.end);
            self.calls.insert_range(calls);
        }
        self.contents.clear();
        self.contents.extend_from_slice(now);
    }

    /// The calls that brought something into a container that grows by so many bytes per call: of `calls` calls. All of them if the
    /// contents say nothing: they were not compared, or are always the same. `grown`: the calls that replaced it, and its bytes
    /// then.
    pub(super) fn entries(&self, grown: &[(usize, u32)], bytes: f64, calls: usize) -> f64 {
        let intervals = grown.windows(2).filter(|pair| pair[1].1 as usize <= MOST_WATCHED).filter_map(|pair| {
            let ((from, before), (to, full)) = (pair[0], pair[1]);
            let between = (from + 1).min(self.calls.len())..to.min(self.calls.len());
            let seen = if between.is_empty() { 0 } else { self.calls.count_ones(between) };
            let says_something = seen > 0 || to == from + 1;
            says_something.then(|| f64::from(full.saturating_sub(before)) / (seen + 1) as f64)
        });
        match intervals.reduce(f64::min) {
            Some(entry) => (bytes * calls as f64 / entry.max(1.0)).min(calls as f64),
            None => calls as f64,
        }
    }

    /// The calls that changed the contents.
    pub(super) fn calls(&self) -> &FixedBitSet {
        &self.calls
    }
}
