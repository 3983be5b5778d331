//! How many entries came into a container: a cache of some hundred entries is not full when it has seen fewer.
//!
//! How large an entry is, the contents say: between two replacements, as many calls brought something as changed them. A
//! change is not seen if the memory had the same bytes before, so the interval in which an entry seems smallest counts.

use std::ops::Range;

use fixedbitset::FixedBitSet;

/// Bytes of a container up to which its contents are compared after each call. Of a larger one each call counts as a change: it
/// has many entries.
const MOST_WATCHED: usize = 16 << 10;

/// In which calls the contents of a container changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    contents: Vec<u8>,
    calls: FixedBitSet,
}

impl Changes {
    /// Notes what the container contains after these calls.
    pub(super) fn note(&mut self, calls: Range<usize>, now: &[u8]) {
        let is_watched = now.len() <= MOST_WATCHED;
        if is_watched && self.contents == now {
            return;
        }
        self.calls.grow(calls.end);
        self.calls.insert_range(calls);
        self.contents.clear();
        if is_watched {
            self.contents.extend_from_slice(now);
        }
    }

    /// The calls that brought something into a container that grows by so many bytes per call: of `calls` calls. All of them if its
    /// contents were never compared. `grown`: the calls that replaced it, and its bytes then.
    pub(super) fn entries(&self, grown: &[(usize, u32)], bytes: f64, calls: usize) -> f64 {
        let changed = &self.calls;
        if changed.is_empty() {
            return calls as f64;
        }
        let intervals = grown.windows(2).map(|pair| {
            let ((from, before), (to, full)) = (pair[0], pair[1]);
            let between = (from + 1).min(changed.len())..to.min(changed.len());
            let seen = if between.is_empty() { 0 } else { changed.count_ones(between) };
            f64::from(full.saturating_sub(before)) / (seen + 1) as f64
        });
        let entry = intervals.fold(f64::MAX, f64::min).max(1.0);
        (bytes * calls as f64 / entry).min(calls as f64)
    }

    /// The calls that changed the contents.
    pub(super) fn calls(&self) -> &FixedBitSet {
        &self.calls
    }
}
