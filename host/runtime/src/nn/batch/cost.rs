//! What runs cost: a fixed time, and a time for each row. The fixed time decides how long a free device waits for more
//! rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The weight of a new measurement.
const WEIGHT: f64 = 0.2;

/// The measured times of runs, by the power of two of their rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunCost(BTreeMap<u32, Measured>);

/// Means of the runs with about the same number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    rows: f64,
    seconds: f64,
}

impl RunCost {
    /// Records that a run of this many rows took this time.
    pub(super) fn record(&mut self, rows: u32, time: Duration) {
        let Some(power) = rows.checked_ilog2() else { return };
        let (rows, seconds) = (f64::from(rows), time.as_secs_f64());
        let mean = self.0.entry(power).or_insert(Measured { rows, seconds });
        mean.rows += WEIGHT * (rows - mean.rows);
        mean.seconds += WEIGHT * (seconds - mean.seconds);
    }

    /// Records a run of the admission. The fastest one counts, because the first ones are slow.
    pub(super) fn record_first(&mut self, rows: u32, time: Duration) {
        let Some(power) = rows.checked_ilog2() else { return };
        let seconds = time.as_secs_f64();
        let least = self.0.entry(power).or_insert(Measured { rows: 0.0, seconds: f64::INFINITY });
        if seconds < least.seconds {
            *least = Measured { rows: rows.into(), seconds };
        }
    }

    /// The part of a run's time that does not depend on its rows: zero as long as runs of one size only were measured.
    pub(super) fn fixed(&self) -> Duration {
        let (Some((_, small)), Some((_, large))) = (self.0.first_key_value(), self.0.last_key_value()) else {
            return Duration::ZERO;
        };
        if large.rows <= small.rows {
            return Duration::ZERO;
        }
        let of_row = (large.seconds - small.seconds).max(0.0) / (large.rows - small.rows);
        Duration::from_secs_f64((small.seconds - of_row * small.rows).max(0.0))
    }

    /// Until when a device that is free waits for more rows: `rows` wait, the last of them arrived at `last`.
    ///
    /// A run of n rows takes `a + b·n`. The next row pays for waiting `w` if `n / (a + b·n)` is less than
    /// `(n + 1) / (a + b·(n + 1) + w)`, that is, if `w` is less than `a / n`. When it comes is not known, so the device
    /// waits as long as the row would gain: it never loses more than it could have won.
    pub(super) fn hold_until(&self, rows: u32, last: Instant) -> Instant {
        last + self.fixed() / rows.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_fixed_time_of_runs_is_what_no_row_costs() {
        let mut cost = RunCost::default();
        assert_eq!(cost.fixed(), Duration::ZERO, "nothing is known");
        cost.record(16, 36 * MS);
        assert_eq!(cost.fixed(), Duration::ZERO, "one size tells nothing");
        cost.record(1, 21 * MS);
        assert_eq!(cost.fixed(), 20 * MS);
        // The time of runs without a fixed part grows with the rows.
        let mut linear = RunCost::default();
        for rows in [1, 2, 16] {
            linear.record(rows, rows * 3 * MS);
        }
        assert!(linear.fixed() < MS / 100, "{:?}", linear.fixed());
        // Larger runs that take no longer have only a fixed time.
        let mut flat = RunCost::default();
        for rows in [1, 16] {
            flat.record(rows, 5 * MS);
        }
        assert_eq!(flat.fixed(), 5 * MS);
    }

    #[test]
    fn a_device_that_became_faster_is_known_after_some_runs() {
        let mut cost = RunCost::default();
        cost.record(1, 100 * MS);
        cost.record(16, 100 * MS);
        for _ in 0..40 {
            cost.record(1, 10 * MS);
            cost.record(15, 10 * MS);
            cost.record(16, 10 * MS);
        }
        assert!(cost.fixed() < 11 * MS, "{:?}", cost.fixed());
    }

    #[test]
    fn more_rows_wait_shorter() {
        let mut cost = RunCost::default();
        cost.record(1, 21 * MS);
        cost.record(16, 36 * MS);
        let now = Instant::now();
        assert_eq!(cost.hold_until(1, now), now + 20 * MS);
        assert_eq!(cost.hold_until(8, now), now + Duration::from_micros(2_500));
        assert_eq!(RunCost::default().hold_until(1, now), now);
    }
}
