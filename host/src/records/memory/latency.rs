//! A small histogram of times, for the timelines: 1 KiB, without allocations.

use std::time::Duration;

/// Buckets of each power of two, so a value is rounded up by less than 1/8.
const PARTS: usize = 8;
/// The last bucket begins at more than four hours.
const BUCKETS: usize = 256;

/// Times in microseconds.
pub(super) struct Latencies {
    buckets: [u32; BUCKETS],
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], max: Duration::ZERO }
    }
}

impl Latencies {
    /// Counts a time.
    pub(super) fn record(&mut self, time: Duration) {
        let count = &mut self.buckets[bucket(time.as_micros() as u64)];
        *count = count.saturating_add(1);
        self.max = self.max.max(time);
    }

    /// The longest time.
    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// A quantile, rounded up to the end of its bucket. Zero if nothing was counted.
    pub(super) fn quantile(&self, quantile: f64) -> Duration {
        let count: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        let rank = ((count as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        let found = self.buckets.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        });
        found.map_or(Duration::ZERO, |bucket| Duration::from_micros(end(bucket)).min(self.max))
    }
}

/// The first microseconds have a bucket each; then each power of two has [`PARTS`].
fn bucket(micros: u64) -> usize {
    let parts = PARTS as u64;
    if micros < parts {
        return micros as usize;
    }
    let exponent = micros.ilog2() - parts.ilog2();
    ((u64::from(exponent) * parts + (micros >> exponent)) as usize).min(BUCKETS - 1)
}

/// The first value after a bucket.
fn end(bucket: usize) -> u64 {
    let parts = PARTS as u64;
    match (bucket + 1) as u64 {
        next if next <= parts => next,
        next => {
            let exponent = next / parts - 1;
            (parts + next % parts) << exponent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_below_the_end_of_its_bucket_by_less_than_an_eighth() {
        for micros in (0..5_000).chain([65_535, 65_536, 1 << 20, (1 << 33) - 1]) {
            let end = end(bucket(micros));
            assert!(end > micros && (end - micros) as f64 <= (micros as f64 / 8.0).max(1.0), "{micros} → {end}");
            assert!(bucket(end) == bucket(micros) + 1, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), Duration::ZERO);
        (0..980).for_each(|_| latencies.record(Duration::from_millis(2)));
        (0..20).for_each(|_| latencies.record(Duration::from_millis(800)));
        let [p50, p98, p99] = [0.5, 0.98, 0.99].map(|quantile| latencies.quantile(quantile).as_secs_f64());
        assert!((0.002..0.00226).contains(&p50) && p98 == p50, "{p50} {p98}");
        assert_eq!((p99, latencies.max()), (0.8, Duration::from_millis(800)), "not above the longest");
    }
}
