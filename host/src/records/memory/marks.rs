//! High-water marks of one series: since start, and over three sliding windows.
//!
//! Linear memory is a whole number of 64 KiB pages, and the marks of a plugin have few different values. Therefore the
//! marks since start are an HDR histogram of pages that grows with its largest value (2 KiB for marks below 16 MiB, 12
//! KiB at most), and each interval of a window is a short sorted list. The windows of a series need about 5 KiB if the
//! marks have a handful of values. `slot.rs` limits them to 20 KiB, regardless of what callers send.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use plimsoll_runtime::cap::{PAGE, Usage};
use serde::Serialize;

use super::slot::{Slot, count, quantile};

/// The largest high-water mark that is counted, in pages: four linear memories of 4 GiB each. Higher marks count as
/// this one.
const MAX_PAGES: u64 = 4 << 16;
/// The sliding windows: the name of their member in the report, the length of an interval in seconds, and the number of
/// intervals. The last interval is the current one, which is not complete, so a window is up to one interval shorter
/// than its name says.
pub const WINDOWS: [(&str, u64, u64); 3] = [("1m", 10, 6), ("10m", 60, 10), ("1h", 60, 60)];

/// Count of runs, and maximum and percentiles of their high-water marks in bytes. All are 0 if nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Number of stage runs.
    pub count: u64,
    /// Highest mark. It is exact.
    pub max: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
}

/// The figures of each of [`WINDOWS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// The last minute.
    #[serde(rename = "1m")]
    pub minute: Figures,
    /// The last ten minutes.
    #[serde(rename = "10m")]
    pub ten_minutes: Figures,
    /// The last hour.
    #[serde(rename = "1h")]
    pub hour: Figures,
}

/// The memory that the stage runs of one series needed.
pub struct Marks {
    pages: Histogram<u64>,
    /// Highest mark in bytes. It is exact.
    pub max: u64,
    /// Linear memory of the latest run after instantiation, in bytes.
    pub initial: u64,
    /// Largest growth over `initial`, in bytes.
    pub grown_max: u64,
    /// Number of growths that the cap refused.
    pub refused: u64,
    /// Maximum bytes of tensors that the host held for one run.
    pub host_max: u64,
    /// Maximum number of resources that one run left in its store.
    pub resources_max: u64,
    /// The intervals of the shortest window.
    fine: Ring,
    /// The intervals of the two longer windows.
    coarse: Ring,
}

/// An empty histogram of pages that grows with its largest value.
#[expect(clippy::expect_used, reason = "the bounds are constants that the histogram accepts")]
pub(super) fn new_histogram() -> Histogram<u64> {
    let mut pages = Histogram::new_with_bounds(1, 2, 2).expect("the bounds are valid");
    pages.auto(true);
    pages
}

impl Marks {
    /// Creates empty marks.
    pub fn new() -> Self {
        let pages = new_histogram();
        let [(_, fine, slots), _, (_, coarse, most)] = WINDOWS;
        Self {
            pages,
            max: 0,
            initial: 0,
            grown_max: 0,
            refused: 0,
            host_max: 0,
            resources_max: 0,
            fine: Ring::new(fine, slots),
            coarse: Ring::new(coarse, most),
        }
    }

    /// Counts one run that ended `now` seconds after start. Returns true if its mark is higher than all earlier ones.
    pub fn record(&mut self, usage: &Usage, now: u64) -> bool {
        let pages = usage.high_water.div_ceil(PAGE).min(MAX_PAGES);
        // The histogram resizes itself, and the value is at most `MAX_PAGES`, so this cannot fail.
        let _ = self.pages.record(pages);
        self.fine.record(now, pages as u32, usage.high_water);
        self.coarse.record(now, pages as u32, usage.high_water);
        self.initial = usage.initial;
        self.grown_max = self.grown_max.max(usage.grown());
        self.refused += usage.refused;
        self.host_max = self.host_max.max(usage.host);
        self.resources_max = self.resources_max.max(usage.resources);
        let is_higher = usage.high_water > self.max;
        self.max = self.max.max(usage.high_water);
        is_higher
    }

    /// The figures since start.
    pub fn since_start(&self) -> Figures {
        let quantile = |q| (self.pages.value_at_quantile(q) * PAGE).min(self.max);
        Figures { count: self.pages.len(), max: self.max, p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) }
    }

    /// The figures of the sliding windows, `now` seconds after start.
    pub fn windows(&self, now: u64) -> Windows {
        let [(_, _, minute), (_, _, ten), (_, _, hour)] = WINDOWS;
        Windows {
            minute: self.fine.figures(now, minute),
            ten_minutes: self.coarse.figures(now, ten),
            hour: self.coarse.figures(now, hour),
        }
    }

    /// The highest mark of the last ten minutes, `now` seconds after start.
    pub fn highest_of_ten_minutes(&self, now: u64) -> u64 {
        let [_, (_, _, ten), _] = WINDOWS;
        self.coarse.highest(now, ten)
    }

    /// The marks since start: pages and the number of runs. Those of several servers can be added up.
    pub fn recorded(&self) -> Vec<[u64; 2]> {
        self.pages.iter_recorded().map(|value| [value.value_iterated_to(), value.count_at_value()]).collect()
    }

    /// Adds the marks since start to a histogram of pages.
    pub fn add_to(&self, pages: &mut Histogram<u64>) {
        // The histogram resizes itself, so this cannot fail.
        let _ = pages.add(&self.pages);
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
}

/// The latest intervals of one length, each in a [`Slot`]. Intervals without a run are not stored.
struct Ring {
    /// The length of an interval in seconds.
    width: u64,
    /// The number of intervals that are kept.
    keep: u64,
    slots: VecDeque<Slot>,
}

impl Ring {
    fn new(width: u64, keep: u64) -> Self {
        Self { width, keep, slots: VecDeque::new() }
    }

    fn record(&mut self, now: u64, pages: u32, bytes: u64) {
        let number = now / self.width;
        // Two threads may report runs around the end of an interval in either order. In that case both count in the
        // later interval.
        if self.slots.back().is_none_or(|slot| slot.number < number) {
            while self.slots.front().is_some_and(|slot| slot.number + self.keep <= number) {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot { number, ..Slot::default() });
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.record(pages, bytes);
        }
    }

    fn highest(&self, now: u64, slots: u64) -> u64 {
        let number = now / self.width;
        let inside = self.slots.iter().filter(|slot| slot.number + slots > number);
        inside.map(|slot| slot.max).max().unwrap_or(0)
    }

    fn figures(&self, now: u64, slots: u64) -> Figures {
        let number = now / self.width;
        let inside = || self.slots.iter().filter(|slot| slot.number + slots > number);
        let mut runs: Vec<(u32, u32)> = inside().flat_map(|slot| slot.runs.iter().copied()).collect();
        runs.sort_unstable();
        let count = count(&runs);
        let max = self.highest(now, slots);
        let quantile = |q: f64| quantile(&runs, q).min(max);
        Figures { count, max, p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::{BITS, MAX_VALUES, rounded};
    use super::*;

    fn usage(pages: u64) -> Usage {
        Usage { high_water: pages * PAGE, initial: PAGE, ..Usage::default() }
    }

    #[test]
    fn runs_that_are_older_than_a_window_are_removed_from_it() {
        let mut marks = Marks::new();
        assert!(marks.record(&usage(100), 0));
        assert!(!marks.record(&usage(100), 1));
        (0..98).for_each(|_| _ = marks.record(&usage(2), 65));
        assert!(marks.record(&usage(200), 70));

        let start = marks.since_start();
        assert_eq!((start.count, start.max, start.p50, start.p99), (101, 200 * PAGE, 2 * PAGE, 100 * PAGE));
        let windows = marks.windows(75);
        assert_eq!((windows.minute.count, windows.minute.max, windows.minute.p99), (99, 200 * PAGE, 200 * PAGE));
        assert_eq!((windows.ten_minutes.count, windows.hour.count), (101, 101));
        let later = marks.windows(75 + 60);
        assert_eq!((later.minute, later.ten_minutes.count), (Figures::default(), 101));
        let later = marks.windows(75 + 600);
        assert_eq!((later.ten_minutes, later.hour.count), (Figures::default(), 101));
        assert_eq!((marks.highest_of_ten_minutes(75), marks.highest_of_ten_minutes(75 + 600)), (200 * PAGE, 0));
        assert_eq!(marks.windows(75 + 3600).hour, Figures::default());
        assert_eq!(marks.since_start().count, 101);
        // A ring never holds more intervals than its limit.
        (0..1000).for_each(|minute| _ = marks.record(&usage(2), minute * 60));
        assert_eq!((marks.fine.slots.len(), marks.coarse.slots.len()), (1, 60));
    }

    #[test]
    fn the_size_of_a_slot_is_limited_and_its_values_are_rounded_up_slightly() {
        for pages in [1, 255, 256, 257, 1_000, 65_535, 262_144] {
            let value = rounded(pages, BITS);
            assert!(value >= pages && f64::from(value - pages) < f64::from(pages) * 0.01, "{pages} → {value}");
        }
        let mut marks = Marks::new();
        (1..=10_000).for_each(|pages| _ = marks.record(&usage(pages), 0));
        let slot = &marks.fine.slots[0];
        assert!(slot.runs.len() <= MAX_VALUES, "{}", slot.runs.len());
        let figures = marks.windows(0).minute;
        assert_eq!((figures.count, figures.max), (10_000, 10_000 * PAGE));
        // With many different values the result is coarse, but never too low.
        assert!((5_000 * PAGE..=8_192 * PAGE).contains(&figures.p50), "{figures:?}");
        assert_eq!(marks.since_start().max, 10_000 * PAGE);
    }
}
