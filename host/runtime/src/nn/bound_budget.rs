//! How much memory of a library may hold inputs and outputs of runs that are bound to it (`IoBinding`). On a GPU this memory
//! cannot be swapped, so all models of the process share one limit. What does not fit takes ordinary memory.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The bytes in use, of all models of the process.
#[derive(Default)]
pub struct BoundBudget {
    limit: AtomicU64,
    used: AtomicU64,
    high_water: AtomicU64,
    unbound_runs: AtomicU64,
}

/// The figures of a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct BoundFigures {
    /// The most bytes that may be in use; 0 as long as no model has bound runs.
    pub limit: u64,
    /// The bytes in use: reserved for inputs, and those of the outputs of runs.
    pub bytes: u64,
    /// The most that were in use.
    pub high_water: u64,
    /// Runs that took ordinary memory because there was no room for their outputs.
    pub unbound_runs: u64,
}

/// The budget of this process.
pub static BOUND_MEMORY: BoundBudget = BoundBudget {
    limit: AtomicU64::new(0),
    used: AtomicU64::new(0),
    high_water: AtomicU64::new(0),
    unbound_runs: AtomicU64::new(0),
};

/// Bytes of a budget. They are free again when this is dropped.
#[must_use]
pub struct BoundBytes<'a> {
    budget: &'a BoundBudget,
    bytes: u64,
}

impl BoundBudget {
    /// Takes bytes, if no more than `limit` are in use then. The limit is the configuration's.
    pub fn take(&self, bytes: usize, limit: u64) -> Option<BoundBytes<'_>> {
        let bytes = bytes as u64;
        self.limit.store(limit, Relaxed);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        let before = self.used.fetch_update(Relaxed, Relaxed, more).ok()?;
        self.high_water.fetch_max(before.saturating_add(bytes), Relaxed);
        Some(BoundBytes { budget: self, bytes })
    }

    /// Counts a run that took ordinary memory.
    pub fn count_unbound_run(&self) {
        self.unbound_runs.fetch_add(1, Relaxed);
    }

    /// The figures now.
    pub fn figures(&self) -> BoundFigures {
        BoundFigures {
            limit: self.limit.load(Relaxed),
            bytes: self.used.load(Relaxed),
            high_water: self.high_water.load(Relaxed),
            unbound_runs: self.unbound_runs.load(Relaxed),
        }
    }
}

impl BoundBytes<'_> {
    /// Corrects the number of bytes to what was really taken, which may be above the limit.
    pub fn correct(&mut self, bytes: usize) {
        let (before, now) = (self.bytes, bytes as u64);
        let used = match now >= before {
            true => self.budget.used.fetch_add(now - before, Relaxed).saturating_add(now - before),
            false => self.budget.used.fetch_sub(before - now, Relaxed).saturating_sub(before - now),
        };
        self.budget.high_water.fetch_max(used, Relaxed);
        self.bytes = now;
    }
}

impl Drop for BoundBytes<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_in_use_until_they_are_dropped() {
        let budget = BoundBudget::default();
        let first = budget.take(60, 100).expect("room");
        assert!(budget.take(41, 100).is_none() && budget.take(usize::MAX, u64::MAX).is_none());
        let mut second = budget.take(40, 100).expect("exactly the rest");
        assert_eq!(budget.figures().bytes, 100);
        drop(first);
        second.correct(130);
        assert_eq!((budget.figures().bytes, budget.figures().high_water), (130, 130));
        assert!(budget.take(1, 100).is_none(), "an output can be larger than expected; then the next one has no room");
        second.correct(10);
        assert_eq!((budget.figures().bytes, budget.figures().high_water), (10, 130));
        drop(second);
        budget.count_unbound_run();
        assert_eq!(budget.figures(), BoundFigures { limit: 100, bytes: 0, high_water: 130, unbound_runs: 1 });
        assert!(budget.take(1, 0).is_none() && budget.take(0, 0).is_some(), "0 switches it off");
    }
}
