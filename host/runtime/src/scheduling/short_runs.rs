//! Detects models whose runs are so short that they should run on the calling thread.
//!
//! Moving a run to another thread and back takes about as long as a short run on an idle machine, and many times as
//! long on a busy one.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::mode::Scheduling;
use crate::tensor::Tensor;

/// A run of at most this time is short. A guest may occupy a thread for longer (`tick::TICK`).
const MAX_SHORT_RUN: Duration = Duration::from_micros(250);

/// After this many short runs in a row, the next run is expected to be short.
const SHORT_RUNS: u32 = 16;

/// How many shapes are kept whose last run was short. Another shape may replace one of them.
const SHAPES: usize = 8;

/// The recorded run times of one model.
pub struct ShortRunDetector {
    enabled: bool,
    /// The number of short runs in a row; a long run subtracts [`SHORT_RUNS`].
    short_runs: AtomicU32,
    /// The shapes of inputs whose last run was short, as digests; 0 is none. A run of other shapes may take any time, also if its
    /// inputs have as many bytes: the time of many operators is a product of sizes, or the square of one.
    short_shapes: [AtomicU64; SHAPES],
    /// Digests differ in each process, so that no caller can choose two shapes with the same digest.
    digests: RandomState,
}

impl ShortRunDetector {
    /// Nothing is recorded yet. With [`Scheduling::Off`] no run is ever expected to be short.
    pub fn new(scheduling: Scheduling) -> Self {
        let enabled = scheduling == Scheduling::Fair;
        let (short_shapes, digests) = (Default::default(), RandomState::new());
        Self { enabled, short_runs: AtomicU32::new(0), short_shapes, digests }
    }

    /// The digest of the shapes of inputs; texts also differ in their length.
    pub fn shapes(&self, inputs: &[Tensor]) -> u64 {
        let mut hasher = self.digests.build_hasher();
        for input in inputs {
            input.dimensions.hash(&mut hasher);
            input.data.len().hash(&mut hasher);
        }
        hasher.finish().max(1)
    }

    /// Returns true if a run on inputs with this digest of their shapes is expected to be short.
    pub fn expects_short(&self, shapes: u64) -> bool {
        self.enabled && self.short_runs.load(Relaxed) >= SHORT_RUNS && self.place(shapes).load(Relaxed) == shapes
    }

    /// Records a run on inputs with this digest that took `time`.
    pub fn record(&self, shapes: u64, time: Duration) {
        let is_short = time <= MAX_SHORT_RUN;
        let place = self.place(shapes);
        if is_short {
            place.store(shapes, Relaxed);
        } else {
            let _ = place.compare_exchange(shapes, 0, Relaxed, Relaxed);
        }
        let _ = self.short_runs.fetch_update(Relaxed, Relaxed, |runs| match is_short {
            true => Some((runs + 1).min(2 * SHORT_RUNS - 1)),
            // A single long run between short ones, slowed down by others' cache misses, is forgotten soon.
            false => Some(runs.saturating_sub(SHORT_RUNS)),
        });
    }

    fn place(&self, shapes: u64) -> &AtomicU64 {
        &self.short_shapes[(shapes % SHAPES as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    fn tensor(dimensions: &[u32]) -> Tensor {
        let count: u32 = dimensions.iter().product();
        Tensor::new(dimensions.to_vec(), TensorType::U8, vec![0; count as usize])
    }

    #[test]
    fn other_shapes_of_as_many_bytes_are_not_expected_to_be_short() {
        let detector = ShortRunDetector::new(Scheduling::Fair);
        let (long, high) = (detector.shapes(&[tensor(&[1, 64])]), detector.shapes(&[tensor(&[64, 1])]));
        for _ in 0..SHORT_RUNS {
            assert!(!detector.expects_short(long));
            detector.record(long, Duration::from_micros(1));
        }
        assert!(detector.expects_short(long));
        assert!(!detector.expects_short(high));
        detector.record(high, Duration::from_secs(1));
        for _ in 0..SHORT_RUNS {
            detector.record(long, Duration::from_micros(1));
        }
        assert!(detector.expects_short(long) && !detector.expects_short(high));
        detector.record(long, Duration::from_secs(1));
        assert!(!detector.expects_short(long));
    }
}
