//! Predicts from the body size whether a run will be long.
//!
//! A run that is predicted to be long waits for its CPU permit (`cpu_permits.rs`) before it gets an instance. So among
//! runs that end within one permit (50 ms), at most as many hold memory as compute, and they end in the order of
//! arrival.
//!
//! If a short run is predicted to be long, it waits for other runs. If a long run is not predicted to be long, it takes
//! its memory early; there is no other cost. Therefore a size is predicted to be long only if no recent run of that
//! size or more was short.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A run of at least this many epoch ticks (8 ms) is long.
const MIN_LONG_TICKS: u32 = 4;

/// The size in bytes that is assumed to be long before any run is recorded: a photo of about five megapixels.
const INITIAL_GUESS: usize = 1 << 20;

/// After this many long runs of sizes whose runs were short before, all measurements of short sizes are discarded.
const MAX_CONTRADICTIONS: u32 = 32;

/// The recorded run lengths of one stage.
pub struct RunLengthPredictor(Mutex<Sizes>);

struct Sizes {
    /// The smallest size of a long run, in bytes.
    long: usize,
    /// The largest size of a short run, in bytes, if there was one.
    short: Option<usize>,
    /// Long runs of at most `short` bytes since the last short run of at least `long` bytes.
    contradictions: u32,
}

impl Default for RunLengthPredictor {
    fn default() -> Self {
        Self(Mutex::new(Sizes { long: INITIAL_GUESS, short: None, contradictions: 0 }))
    }
}

impl RunLengthPredictor {
    /// Returns true if a run on a body of `bytes` bytes is predicted to be long.
    pub fn predicts_long(&self, bytes: usize) -> bool {
        let sizes = self.sizes();
        bytes >= sizes.long && sizes.short.is_none_or(|short| bytes > short)
    }

    /// Records a run that ended well: the size of its body, and for how many epoch ticks it computed.
    pub fn record(&self, bytes: usize, ticks: u32) {
        let mut sizes = self.sizes();
        if ticks < MIN_LONG_TICKS {
            sizes.short = sizes.short.max(Some(bytes));
            if bytes >= sizes.long {
                sizes.contradictions = 0;
            }
            return;
        }
        sizes.long = sizes.long.min(bytes);
        if sizes.short.is_some_and(|short| bytes <= short) {
            sizes.contradictions += 1;
            if sizes.contradictions >= MAX_CONTRADICTIONS {
                (sizes.short, sizes.contradictions) = (None, 0);
            }
        }
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_above_all_short_runs_are_predicted_to_be_long() {
        let predictor = RunLengthPredictor::default();
        assert!(!predictor.predicts_long(INITIAL_GUESS - 1) && predictor.predicts_long(INITIAL_GUESS), "no runs yet");
        predictor.record(500_000, MIN_LONG_TICKS);
        predictor.record(60_000, MIN_LONG_TICKS - 1);
        let long = [499_999, 500_000, 60_000].map(|bytes| predictor.predicts_long(bytes));
        assert_eq!(long, [false, true, false]);
    }

    #[test]
    fn no_run_is_predicted_to_be_long_if_sizes_do_not_correlate_with_lengths() {
        let predictor = RunLengthPredictor::default();
        for _ in 0..10 * MAX_CONTRADICTIONS {
            predictor.record(60_000, MIN_LONG_TICKS);
            predictor.record(100_000, MIN_LONG_TICKS - 1);
            assert!(!predictor.predicts_long(60_000) && !predictor.predicts_long(100_000));
        }
        assert!(predictor.predicts_long(100_001));
        // One short run of a large body is forgotten after many long runs of that size.
        predictor.record(2_000_000, 0);
        assert!(!predictor.predicts_long(2_000_000));
        (0..MAX_CONTRADICTIONS).for_each(|_| predictor.record(2_000_000, MIN_LONG_TICKS));
        assert!(predictor.predicts_long(2_000_000));
    }
}
