//! Which bodies make a long run, learnt from the runs before.
//!
//! A run that will be long waits for its turn (`turns.rs`) before it has an instance and not with it. So of runs that end
//! within one turn, 50 ms, no more hold memory than compute, and the first to come is the first to be done.
//!
//! A short run that is taken for a long one waits for others; a long one that is not foreseen takes its memory early, and
//! nothing else. So a size is taken for long only where no run of that size or more was short.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A run of so many ticks is long: 8 ms.
const LONG: u32 = 4;

/// Before anything is learnt: a photo of this size has some five megapixels.
const GUESS: usize = 1 << 20;

/// After so many long runs of sizes that were short, what was short is forgotten.
const CONTRADICTIONS: u32 = 32;

/// What a stage has learnt.
pub(crate) struct Foresight(Mutex<Marks>);

struct Marks {
    /// The least size of a long run.
    long: usize,
    /// The greatest size of a short run, if there was one.
    short: Option<usize>,
    /// Long runs of at most that size since the last short one of at least `long`.
    contradictions: u32,
}

impl Default for Foresight {
    fn default() -> Self {
        Self(Mutex::new(Marks { long: GUESS, short: None, contradictions: 0 }))
    }
}

impl Foresight {
    /// Whether a run on a body of so many bytes will be long.
    pub(crate) fn is_long(&self, bytes: usize) -> bool {
        let marks = self.marks();
        bytes >= marks.long && marks.short.is_none_or(|short| bytes > short)
    }

    /// Learns from a run that has ended well.
    pub(crate) fn learn(&self, bytes: usize, ticks: u32) {
        let mut marks = self.marks();
        if ticks < LONG {
            marks.short = marks.short.max(Some(bytes));
            if bytes >= marks.long {
                marks.contradictions = 0;
            }
            return;
        }
        marks.long = marks.long.min(bytes);
        if marks.short.is_some_and(|short| bytes <= short) {
            marks.contradictions += 1;
            if marks.contradictions >= CONTRADICTIONS {
                (marks.short, marks.contradictions) = (None, 0);
            }
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_all_short_runs_is_foreseen() {
        let foresight = Foresight::default();
        assert!(!foresight.is_long(GUESS - 1) && foresight.is_long(GUESS), "nothing is known");
        foresight.learn(500_000, LONG);
        foresight.learn(60_000, LONG - 1);
        assert!(foresight.is_long(500_000) && !foresight.is_long(499_999) && !foresight.is_long(60_000));
    }

    #[test]
    fn where_the_size_does_not_tell_nobody_waits() {
        let foresight = Foresight::default();
        for _ in 0..10 * CONTRADICTIONS {
            foresight.learn(60_000, LONG);
            foresight.learn(100_000, LONG - 1);
            assert!(!foresight.is_long(60_000) && !foresight.is_long(100_000));
        }
        assert!(foresight.is_long(100_001));
        // One short run of a large body is forgotten when many of its size are long.
        foresight.learn(2_000_000, 0);
        assert!(!foresight.is_long(2_000_000));
        (0..CONTRADICTIONS).for_each(|_| foresight.learn(2_000_000, LONG));
        assert!(foresight.is_long(2_000_000));
    }
}
