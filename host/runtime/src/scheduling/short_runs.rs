//! Detects models whose runs are so short that they should run on the calling thread.
//!
//! Moving a run to another thread and back takes about as long as a short run on an idle machine, and many times as
//! long on a busy one.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::mode::Scheduling;

/// A run of at most this time is short. A guest may occupy a thread for longer (`tick::TICK`).
const MAX_SHORT_RUN: Duration = Duration::from_micros(250);

/// After this many short runs in a row, the next run is expected to be short.
const SHORT_RUNS: u32 = 16;

/// The recorded run times of one model.
pub struct ShortRunDetector {
    enabled: bool,
    /// The number of short runs in a row; a long run subtracts [`SHORT_RUNS`].
    short_runs: AtomicU32,
    /// The size in bytes of the largest inputs whose run was short recently. Larger inputs may take any time.
    short_bytes: AtomicUsize,
}

impl ShortRunDetector {
    /// Nothing is recorded yet. With [`Scheduling::Off`] no run is ever expected to be short.
    pub fn new(scheduling: Scheduling) -> Self {
        let enabled = scheduling == Scheduling::Fair;
        Self { enabled, short_runs: AtomicU32::new(0), short_bytes: AtomicUsize::new(0) }
    }

    /// Returns true if a run on inputs of `bytes` bytes is expected to be short.
    pub fn expects_short(&self, bytes: usize) -> bool {
        self.enabled && self.short_runs.load(Relaxed) >= SHORT_RUNS && bytes <= self.short_bytes.load(Relaxed)
    }

    /// Records a run on inputs of `bytes` bytes that took `time`.
    pub fn record(&self, bytes: usize, time: Duration) {
        let is_short = time <= MAX_SHORT_RUN;
        let _ = match is_short {
            true => self.short_bytes.fetch_max(bytes, Relaxed),
            false => self.short_bytes.fetch_min(bytes.saturating_sub(1), Relaxed),
        };
        let _ = self.short_runs.fetch_update(Relaxed, Relaxed, |runs| match is_short {
            true => Some((runs + 1).min(2 * SHORT_RUNS - 1)),
            // A single long run between short ones, slowed down by others' cache misses, is forgotten soon.
            false => Some(runs.saturating_sub(SHORT_RUNS)),
        });
    }
}
