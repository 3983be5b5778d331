//! Does it leak? Judges a series of live bytes, one number after each round over the corpus.
//!
//! The rounds are compared by octaves: the growth in the second half of all rounds is divided by the growth in the
//! quarter before it. A leak adds the same amount in each round, so the second half adds twice as much. This is also
//! true for a block that doubles its size whenever it is full. A cache that fills logarithmically adds the same amount
//! in each octave. A full cache adds nothing. Memory that is allocated only once is allocated in the first round.
//! Therefore the ratio is 2 for a leak and at most 1 for growth that ends, whatever the sizes are.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Minimum number of rounds for a comparison.
pub const MIN_ROUNDS: usize = 4;
/// The middle between the ratio of a leak (2) and that of logarithmic growth (1).
pub(super) const LEAK_RATIO: f64 = 1.5;
/// Maximum bytes that a block can have in addition to the requested bytes, because the allocator does not split off a
/// remainder that is smaller than its smallest chunk.
const SLACK_PER_BLOCK: f64 = 16.0;

/// Memory that is held at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Held {
    /// Bytes.
    pub bytes: u64,
    /// Blocks; 0 if only bytes are known.
    pub blocks: u64,
}

/// The result of judging a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Memory grows at a constant rate and does not stop growing.
    Leaks,
    /// Memory grows more and more slowly: a cache is filling, or there are too few rounds.
    WarmingUp,
    /// Memory does not grow.
    Steady,
    /// Memory grows, but no collection was seen, so it may be garbage.
    Uncollected,
}

impl Verdict {
    /// The name of this verdict in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leaks => "leaks",
            Self::WarmingUp => "warming up",
            Self::Steady => "steady",
            Self::Uncollected => "uncollected",
        }
    }
}

/// Growth per request, in bytes and blocks, over the rounds after the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Growth {
    /// Mean bytes per request.
    pub bytes: f64,
    /// Half the width of the 95 % confidence interval of `bytes` (Student's t over rounds).
    pub bytes_within: f64,
    /// Mean blocks per request.
    pub blocks: f64,
}

/// A verdict and the numbers it is based on.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Growth per request.
    pub growth: Growth,
    /// The memory held before the first round and after each round; empty for a class that was not run alone.
    pub held: Vec<Held>,
}

impl Finding {
    /// The finding if garbage cannot be told from what is kept.
    #[must_use]
    pub fn uncollected(self) -> Self {
        let verdict = if self.verdict == Verdict::Steady { Verdict::Steady } else { Verdict::Uncollected };
        Self { verdict, ..self }
    }

    /// No growth, for a class that was not run alone.
    pub const STEADY: Self = Self {
        verdict: Verdict::Steady,
        growth: Growth { bytes: 0.0, bytes_within: 0.0, blocks: 0.0 },
        held: Vec::new(),
    };
}

/// Judges a series. `held[0]` is the memory before the first round, `held[r]` the memory after round `r`.
///
/// # Panics
/// If there are fewer than [`MIN_ROUNDS`] rounds.
pub fn judge(held: &[Held]) -> Verdict {
    let rounds = held.len() - 1;
    assert!(rounds >= MIN_ROUNDS, "{rounds} rounds, at least {MIN_ROUNDS} are needed");
    let between = |from: usize, to: usize| held[to].bytes as f64 - held[from].bytes as f64;
    let late = between(rounds / 2, rounds);
    let early = between(rounds / 4, rounds / 2);
    let slack = SLACK_PER_BLOCK * held[rounds].blocks as f64;
    let more_blocks = held[rounds].blocks > held[rounds / 2].blocks;
    if late <= 0.0 || (!more_blocks && late <= slack) {
        return Verdict::Steady;
    }
    if early > 0.0 {
        return if late >= LEAK_RATIO * early { Verdict::Leaks } else { Verdict::WarmingUp };
    }
    // No growth before, but growth now: a leak only if memory grew in at least half of the late rounds, and more than
    // once.
    let grew = (rounds / 2..rounds).filter(|&round| held[round + 1].bytes > held[round].bytes).count();
    if grew > 1 && 2 * grew >= rounds - rounds / 2 { Verdict::Leaks } else { Verdict::WarmingUp }
}

/// Judges a series of which only the sum is known: as [`judge`], but the growth of the second half must be larger than
/// its confidence interval, and growth that a queue loses again when it is emptied does not count.
///
/// # Panics
/// If there are fewer than [`MIN_ROUNDS`] rounds.
pub fn judge_series(held: &[Held]) -> Verdict {
    let verdict = judge(held);
    if verdict != Verdict::Leaks {
        return verdict;
    }
    let growth = late_growth(held, 1);
    let (rounds, mut most, mut fall) = (held.len() - 1, 0, 0);
    for held in &held[1..] {
        most = most.max(held.bytes);
        fall = fall.max(most - held.bytes);
    }
    let grown = held[rounds].bytes.saturating_sub(held[rounds / 2].bytes);
    if growth.bytes <= growth.bytes_within || 2 * fall > grown { Verdict::WarmingUp } else { Verdict::Leaks }
}

/// Growth per request over the second half of the rounds, when caches and other memory that fills once have filled.
pub fn late_growth(held: &[Held], requests: usize) -> Growth {
    let rounds = held.len().saturating_sub(1);
    // `growth` leaves out the first step.
    growth(&held[(rounds / 2).saturating_sub(1)..], requests)
}

/// Growth per request; `requests` is the number of requests in each round.
pub fn growth(held: &[Held], requests: usize) -> Growth {
    let requests = requests.max(1) as f64;
    let steps = held.get(1..).unwrap_or_default().windows(2);
    let steps: Vec<f64> = steps.map(|pair| (pair[1].bytes as f64 - pair[0].bytes as f64) / requests).collect();
    let Some(last) = held.last().filter(|_| !steps.is_empty()) else { return Growth::default() };
    let (bytes, bytes_within) = interval(&steps);
    let blocks = (last.blocks as f64 - held[1].blocks as f64) / (steps.len() as f64 * requests);
    Growth { bytes, bytes_within, blocks }
}

/// The mean of some values, and half the width of its 95 % confidence interval (Student's t); 0 for fewer than two values.
pub fn interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, student_t(values.len() - 1) * (variance / count).sqrt())
}

thread_local! {
    /// The quantiles that were computed, by degrees of freedom: each takes much longer than the rest of an interval.
    static QUANTILES: RefCell<HashMap<usize, f64>> = RefCell::default();
}

/// The 97.5 % quantile of Student's t.
fn student_t(degrees: usize) -> f64 {
    let compute = || StudentsT::new(0.0, 1.0, degrees as f64).map_or(0.0, |t| t.inverse_cdf(0.975));
    QUANTILES.with_borrow_mut(|known| *known.entry(degrees).or_insert_with(compute))
}

/// How much values change from the first to the last, relative to their mean: by the straight line that fits best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The change; -0.5 if the last value is half the mean below the first.
    pub mean: f64,
    /// Half the width of its 95 % confidence interval; infinite if there are too few values.
    pub within: f64,
}

impl Change {
    /// Returns true if the values decline by more than `tolerance` and `times` the interval.
    pub fn declines(self, tolerance: f64, times: f64) -> bool {
        self.mean < -tolerance - times * self.within
    }
}

/// The change of some values; none with an infinite interval if there are fewer than four, or their mean is not positive.
pub fn change(values: &[f64]) -> Change {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count.max(1.0);
    if values.len() < MIN_ROUNDS || mean <= 0.0 {
        return Change { mean: 0.0, within: f64::INFINITY };
    }
    let middle = (count - 1.0) / 2.0;
    let points = || values.iter().enumerate().map(|(at, value)| (at as f64 - middle, value - mean));
    let squares: f64 = points().map(|(at, _)| at * at).sum();
    let slope = points().map(|(at, value)| at * value).sum::<f64>() / squares;
    let rest: f64 = points().map(|(at, value)| (value - slope * at).powi(2)).sum();
    let error = (rest / (count - 2.0) / squares).sqrt();
    let range = (count - 1.0) / mean;
    Change { mean: slope * range, within: student_t(values.len() - 2) * error * range }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(bytes: impl Fn(u32) -> u64) -> Vec<Held> {
        (0..=8).map(|round| Held { bytes: bytes(round), blocks: bytes(round) / 100 }).collect()
    }

    #[test]
    fn octaves_distinguish_a_leak_from_growth_that_ends() {
        assert_eq!(judge(&series(|round| 5_000 + u64::from(round) * 1_000)), Verdict::Leaks);
        assert_eq!(judge(&series(|round| u64::from(round * 1_000).next_power_of_two())), Verdict::Leaks, "doubling");
        assert_eq!(judge(&series(|round| if round == 0 { 0 } else { 9_000 })), Verdict::Steady, "allocated once");
        let logarithmic = |round: u32| (f64::from(round + 1).ln() * 10_000.0) as u64;
        assert_eq!(judge(&series(logarithmic)), Verdict::WarmingUp);
        assert_eq!(judge(&series(|round| if round > 5 { 9_000 } else { 1_000 })), Verdict::WarmingUp, "once, late");
        assert_eq!(judge(&series(|round| u64::from(round.saturating_sub(4)) * 500)), Verdict::Leaks, "begins late");
        let slack = series(|_| 20_000).into_iter().enumerate();
        let slack: Vec<_> =
            slack.map(|(at, held)| Held { bytes: held.bytes + at as u64, blocks: held.blocks }).collect();
        assert_eq!(judge(&slack), Verdict::Steady, "one more byte per round is slack of the allocator");
    }

    #[test]
    fn a_change_is_relative_to_the_mean_and_has_an_interval() {
        let falling = change(&[30.0, 25.0, 20.0, 15.0, 10.0]);
        assert!((falling.mean + 1.0).abs() < 1e-9 && falling.within < 1e-9, "{falling:?}");
        assert!(falling.declines(0.05, 1.0));
        let noisy = change(&[9.0, 1.0, 8.0, 2.0, 9.0, 0.0]);
        assert!(!noisy.declines(0.05, 1.0), "{noisy:?}");
        assert_eq!(change(&[5.0; 4]), Change { mean: 0.0, within: 0.0 });
        assert_eq!(change(&[9.0, 1.0]).within, f64::INFINITY, "too few");
    }

    #[test]
    fn a_series_that_fluctuates_is_no_leak() {
        let of = |bytes: [u64; 9]| bytes.map(|bytes| Held { bytes, blocks: 0 });
        assert_eq!(judge_series(&of([0, 10, 20, 30, 40, 50, 60, 70, 80])), Verdict::Leaks);
        assert_ne!(judge_series(&of([0, 60, 20, 80, 40, 0, 60, 20, 80])), Verdict::Leaks, "a queue that is emptied");
        assert_ne!(judge_series(&of([0, 9, 2, 7, 3, 8, 5, 1, 9])), Verdict::Leaks);
    }

    #[test]
    fn growth_is_per_request_and_leaves_out_the_first_round() {
        let growth = growth(&series(|round| if round == 0 { 0 } else { 50_000 + u64::from(round) * 1_000 }), 10);
        assert_eq!((growth.bytes, growth.bytes_within, growth.blocks), (100.0, 0.0, 1.0));
    }
}
