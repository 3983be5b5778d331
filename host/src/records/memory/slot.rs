//! The high-water marks of one interval of time: a short sorted list, whatever callers send.

use plimsoll_runtime::cap::PAGE;

/// Significant bits of a value in an interval. A value is rounded up by less than 1 % (two significant digits). Below
/// 16 MiB, whole pages are exact.
pub(super) const BITS: u32 = 8;
/// Maximum number of different values in one interval. If there are more, the interval rounds more coarsely, in the
/// extreme to powers of two, of which there are 19.
pub(super) const MAX_VALUES: usize = 32;

/// The runs of one interval of time.
pub(super) struct Slot {
    /// Seconds since start, divided by the width.
    pub(super) number: u64,
    /// Highest mark in bytes. It is exact.
    pub(super) max: u64,
    /// Significant bits to which values are rounded.
    pub(super) bits: u32,
    /// Mark in pages, and the number of runs with that mark; sorted by pages.
    pub(super) runs: Vec<(u32, u32)>,
}

/// The number of runs.
pub(super) fn count(runs: &[(u32, u32)]) -> u64 {
    runs.iter().map(|(_, runs)| u64::from(*runs)).sum()
}

/// A quantile of the marks in bytes. `runs` is sorted by pages.
pub(super) fn quantile(runs: &[(u32, u32)], q: f64) -> u64 {
    let rank = ((count(runs) as f64 * q).ceil() as u64).max(1);
    let mut below = 0;
    let found = runs.iter().find(|(_, runs)| {
        below += u64::from(*runs);
        below >= rank
    });
    found.map_or(0, |(pages, _)| u64::from(*pages) * PAGE)
}

impl Default for Slot {
    fn default() -> Self {
        Self { number: 0, max: 0, bits: BITS, runs: Vec::new() }
    }
}

impl Slot {
    /// Count of runs, maximum and 99th percentile of their marks in bytes.
    pub(super) fn figures(&self) -> (u32, u64, u64) {
        let runs = u32::try_from(count(&self.runs)).unwrap_or(u32::MAX);
        (runs, self.max, quantile(&self.runs, 0.99).min(self.max))
    }

    /// Removes the runs.
    pub(super) fn clear(&mut self) {
        (self.max, self.bits) = (0, BITS);
        self.runs.clear();
    }

    pub(super) fn record(&mut self, pages: u32, bytes: u64) {
        self.max = self.max.max(bytes);
        self.add(rounded(pages, self.bits), 1);
        while self.runs.len() > MAX_VALUES {
            self.bits -= 1;
            for (pages, runs) in std::mem::take(&mut self.runs) {
                self.add(rounded(pages, self.bits), runs);
            }
        }
    }

    fn add(&mut self, pages: u32, runs: u32) {
        match self.runs.binary_search_by_key(&pages, |(pages, _)| *pages) {
            Ok(at) => self.runs[at].1 = self.runs[at].1.saturating_add(runs),
            Err(at) => self.runs.insert(at, (pages, runs)),
        }
    }
}

/// Rounds `pages` up to `bits` significant bits.
pub(super) fn rounded(pages: u32, bits: u32) -> u32 {
    let dropped = (u32::BITS - pages.leading_zeros()).saturating_sub(bits);
    let mask = (1 << dropped) - 1;
    (pages + mask) & !mask
}
