//! Which bodies make a long run, learnt from the runs before.
//!
//! A run that will be long waits for its turn (`turns.rs`) before it has an instance and not with it: so no more of them
//! hold memory than compute, and the first to come is the first to be done.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A run of so many ticks is long: 8 ms.
const LONG: u32 = 4;

/// Before anything is learnt: a photo of this size has some five megapixels.
const GUESS: usize = 1 << 20;

/// What a stage has learnt: from this many bytes on, a body makes a long run. A guess that is wrong costs one short run
/// its wait, or one long run's memory, and mends what was learnt.
pub(crate) struct Foresight(AtomicUsize);

impl Default for Foresight {
    fn default() -> Self {
        Self(AtomicUsize::new(GUESS))
    }
}

impl Foresight {
    /// Whether a run on a body of so many bytes will be long.
    pub(crate) fn is_long(&self, bytes: usize) -> bool {
        bytes >= self.0.load(Relaxed)
    }

    /// Learns from a run that has ended well.
    pub(crate) fn learn(&self, bytes: usize, ticks: u32) {
        let from = self.0.load(Relaxed);
        // Several may learn at once, and one of them be forgotten.
        match ticks >= LONG {
            true if bytes < from => self.0.store(bytes, Relaxed),
            false if bytes >= from => self.0.store(bytes.saturating_add(1), Relaxed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_runs_decide() {
        let foresight = Foresight::default();
        assert!(!foresight.is_long(GUESS - 1) && foresight.is_long(GUESS), "nothing is known");
        foresight.learn(2_000_000, LONG);
        foresight.learn(60_000, LONG - 1);
        assert!(foresight.is_long(2_000_000) && foresight.is_long(3_000_000) && !foresight.is_long(60_000));
        foresight.learn(40_000, LONG);
        assert!(foresight.is_long(60_000) && !foresight.is_long(39_999));
        foresight.learn(60_000, LONG - 1);
        assert!(!foresight.is_long(60_000) && foresight.is_long(60_001));
    }
}
