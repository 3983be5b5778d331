//! Judges the blocks of a heap by their sizes and ages.
//!
//! The sum of all bytes hides a small leak beside a cache that fills, and a queue that is emptied now and then looks like
//! a leak if the rounds happen to end at rising fill levels. So the blocks of each size are a population of their own,
//! and what counts is when the blocks were made that are in use **at the end**:
//!
//! | population | blocks of earlier rounds that are in use at the end |
//! | --- | --- |
//! | leak | the same number of each round |
//! | cache that fills, table of what was seen | fewer and fewer of the later rounds |
//! | cache with eviction, queue that is emptied | none or few of the earlier rounds |
//! | full cache with random eviction | fewer of the earlier rounds; the population does not grow |
//! | leak beside a cache with blocks of the same size | fewer of the earlier rounds, but the population grows by the same number in each |
//!
//! A thing of many sizes has so few blocks of each that some of them look like a leak by accident. So the sizes that are not
//! certain by themselves are judged together, too (`judge`).

mod by_size;

pub use by_size::{all, by_size};

use super::verdict;

/// Minimum ratio of the blocks that are left of an earlier part of the rounds to those of a later part, per round. It
/// is 1 for a leak, and less for blocks that are replaced.
const SURVIVAL: f64 = 0.6;
/// Minimum ratio of the rate in the second half of the rounds to the rate in the quarter before. It is 1 for a leak, and
/// at most 0.5 for logarithmic growth. The same as [`verdict::LEAK_RATIO`], per round.
const PERSISTENCE: f64 = 0.6;
/// Rates that differ by at most this share count as equal.
const TOLERANCE: f64 = 0.05;
/// Minimum ratio of the growth of a population to the number of blocks that are left of the same rounds.
const GROWTH: f64 = 0.5;
/// Maximum half width of the interval of a change over the rounds, relative to the rate, if the blocks of one size alone are
/// enough for a verdict.
const CERTAIN: f64 = 0.25;
/// Minimum decline that is ruled out for a leak; if it is not, more rounds are needed.
const RULED_OUT: f64 = 0.25;
/// Shares of the rounds, at the end, in which a cache that became full is noticed; and the blocks that must have been made
/// there, because chance decides about fewer.
const PARTS: [usize; 3] = [usize::MAX, 16, 8];
const FEWEST: u64 = 8;
/// A decline of more than its interval times this is no accident.
const CLEARLY: f64 = 1.75;
/// Maximum ratio of the rates in three parts of the rounds at which a population grows evenly.
const EVEN: f64 = 1.25;
/// Maximum fall before a population began to grow, relative to the growth: a queue that was emptied before is no leak.
const FALL: f64 = 0.1;

/// The blocks of one kind: their number after each round, and for the blocks at the end the round that made each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Population {
    /// `counts[0]` before the first round, `counts[r]` after round `r`.
    pub counts: Vec<u64>,
    /// `born[r]`: blocks at the end that round `r` made; `born[0]` were there before.
    pub born: Vec<u64>,
}

/// What the rounds so far say about a population.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// It grows at a constant rate since the first quarter of the rounds or earlier, and keeps its old blocks.
    Leaks,
    /// It may be the beginning of a leak; more rounds will show it.
    Open {
        /// True if it counts as a leak when no more rounds are possible.
        leaks: bool,
    },
    /// It does not grow, or it grows more and more slowly, or it replaces its old blocks.
    Bounded,
}

impl Trend {
    /// Returns true if this is a leak, as far as is known.
    pub fn leaks(self) -> bool {
        matches!(self, Self::Leaks | Self::Open { leaks: true })
    }
}

impl Population {
    /// Blocks that are left for each round after `from`, up to `to`.
    fn left(&self, from: usize, to: usize) -> &[u64] {
        &self.born[from + 1..=to]
    }

    /// What the rounds so far say.
    pub fn trend(&self) -> Trend {
        let rounds = self.counts.len().saturating_sub(1);
        if rounds < verdict::MIN_ROUNDS || self.born.len() != self.counts.len() {
            return Trend::Bounded;
        }
        let (quarter, half) = (rounds / 4, rounds / 2);
        let middle = half + (rounds - half) / 2;
        let early = Rate::of(self.left(quarter, half));
        let late = Rate::of(self.left(half, rounds));
        let (third, last) = (Rate::of(self.left(half, middle)), Rate::of(self.left(middle, rounds)));
        let all = Rate::of(self.left(quarter, rounds));
        let growth = self.counts[rounds] as f64 - self.counts[half] as f64;
        if growth <= 1.0 || late.mean <= 0.0 {
            return Trend::Bounded;
        }
        if growth < GROWTH * late.mean * (rounds - half) as f64 {
            return match self.grows_beside_a_cache() {
                Some(leaks) => Trend::Open { leaks },
                None if self.leaks_beside_a_batch() => Trend::Open { leaks: true },
                None => Trend::Bounded,
            };
        }
        let change = verdict::change(&as_numbers(self.left(quarter, rounds)));
        let is_slower = late.mean < PERSISTENCE * early.mean;
        if is_slower || late.mean + late.within < (1.0 - TOLERANCE) * early.mean {
            // It grows more and more slowly; but if the rate varies this much, more rounds are needed to be certain.
            if change.declines(TOLERANCE, 1.0) {
                return if all.is_positive() { Trend::Bounded } else { Trend::Open { leaks: false } };
            }
            if is_slower {
                return Trend::Open { leaks: false };
            }
        }
        if early.mean >= SURVIVAL * late.mean && third.mean >= SURVIVAL * last.mean {
            return match change {
                _ if !all.is_positive() => Trend::Open { leaks: false },
                change if change.declines(TOLERANCE, CLEARLY) => Trend::Bounded,
                change if change.declines(TOLERANCE, 1.0) => Trend::Open { leaks: true },
                change if change.mean < 0.0 && change.mean - change.within < -RULED_OUT => Trend::Open { leaks: true },
                _ if self.is_replaced_at_the_end() => Trend::Open { leaks: true },
                _ => Trend::Leaks,
            };
        }
        if third.mean < SURVIVAL * last.mean {
            // It may have begun in the last quarter. Then all blocks from before are still there.
            if !self.has_lost(middle) && !self.fell(middle, growth) && last.is_positive() {
                return Trend::Open { leaks: true };
            }
            if self.grows_beside_a_cache() == Some(true) || self.leaks_beside_a_batch() {
                return Trend::Open { leaks: true };
            }
            // Few old blocks are left. If there are none, all are replaced.
            return if third.mean > 0.0 { Trend::Open { leaks: false } } else { Trend::Bounded };
        }
        // It began late. If it was larger before and fell, it is a queue that is filled and emptied.
        let fell = self.fell(half, growth);
        Trend::Open { leaks: !fell && late.is_positive() && last.mean >= PERSISTENCE * third.mean }
    }

    /// `Some` if the number of blocks never falls after the first quarter of the rounds, and grows to the end: a full cache stays
    /// as it is, so it is something beside the cache that grows, and its blocks of earlier rounds are left. (A queue that is
    /// emptied once in each round, each time a little earlier, grows as evenly, but none of its old blocks is left.) True if
    /// it grows at the same rate in three parts of the rounds; otherwise the cache may have become full in one of them.
    fn grows_beside_a_cache(&self) -> Option<bool> {
        let rounds = self.counts.len() - 1;
        let (quarter, half) = (rounds / 4, rounds / 2);
        let middle = half + (rounds - half) / 2;
        let never_falls = self.counts[quarter..].windows(2).all(|pair| pair[0] <= pair[1]);
        let [early, third, last] = [(quarter, half), (half, middle), (middle, rounds)].map(|(from, to)| {
            let added = self.counts[to].saturating_sub(self.counts[from]);
            (added, added as f64 / (to - from).max(1) as f64)
        });
        let rates = [early.1, third.1, last.1];
        let (least, most) = (rates.into_iter().fold(f64::MAX, f64::min), rates.into_iter().fold(0.0, f64::max));
        let are_left = [(quarter, half), (half, middle)].map(|(from, to)| Rate::of(self.left(from, to)).mean);
        let is_kept = are_left.into_iter().all(|left| left >= SURVIVAL * last.1);
        (never_falls && is_kept && third.0.min(last.0) >= FEWEST).then_some(most <= EVEN * least)
    }

    /// Returns true if the same number of blocks is left of each eighth of the rounds from the third to the sixth, and the least
    /// number of blocks has risen by as many: they leak beside something that fluctuates, such as a batch that is emptied. Of
    /// what is bounded, fewer blocks are left of earlier rounds.
    fn leaks_beside_a_batch(&self) -> bool {
        let rounds = self.counts.len() - 1;
        let part = |from: usize, to: usize| (rounds * from / 8, rounds * to / 8);
        let left = [2, 3, 4, 5].map(|eighth| {
            let (from, to) = part(eighth, eighth + 1);
            self.left(from, to).iter().sum::<u64>()
        });
        let (fewest, most) = (left.into_iter().min().unwrap_or(0), left.into_iter().max().unwrap_or(0));
        let [before, after] = [part(2, 4), part(6, 8)].map(|(from, to)| self.counts[from + 1..=to].iter().min());
        let risen = after.zip(before).map_or(0, |(after, before)| after.saturating_sub(*before));
        let is_even = fewest >= FEWEST && most as f64 <= EVEN * fewest as f64;
        is_even && risen as f64 >= GROWTH * left.iter().sum::<u64>() as f64
    }

    /// Returns true if some of the blocks after a round are not in use at the end.
    fn has_lost(&self, round: usize) -> bool {
        self.born[..=round].iter().sum::<u64>() < self.counts[round]
    }

    /// Returns true if there were clearly more blocks before a round than after it.
    fn fell(&self, round: usize, growth: f64) -> bool {
        let most = self.counts[..=round].iter().max().copied().unwrap_or(0);
        most.saturating_sub(self.counts[round]) as f64 > FALL * growth
    }
}

impl Population {
    /// Returns true if of the blocks made in each round the same number survives, or nearly. Then these blocks are enough for a
    /// verdict, and other sizes need not be considered. A few blocks of random rounds prove nothing.
    pub fn is_certain(&self) -> bool {
        let quarter = self.counts.len().saturating_sub(1) / 4;
        verdict::change(&as_numbers(self.born.get(quarter + 1..).unwrap_or_default())).within < CERTAIN
    }

    /// Returns true if most of the blocks of the first half of the rounds are still in use, as far as there were any.
    pub fn has_kept(&self) -> bool {
        let half = self.counts.len().saturating_sub(1) / 2;
        let left: u64 = self.born.iter().take(half + 1).sum();
        2 * left >= self.counts.get(half).copied().unwrap_or(0)
    }

    /// Returns true if the last rounds added fewer blocks than they made: a cache that has just become full replaces as many
    /// as it gets.
    fn is_replaced_at_the_end(&self) -> bool {
        let rounds = self.counts.len() - 1;
        let made = |last: usize| -> u64 { self.left(rounds - last, rounds).iter().sum() };
        let shortest = (1..=rounds).find(|&last| made(last) >= FEWEST);
        PARTS.map(|part| (rounds / part).max(1)).into_iter().chain(shortest).any(|last| {
            let added = self.counts[rounds] as f64 - self.counts[rounds - last] as f64;
            made(last) >= FEWEST && added < GROWTH * made(last) as f64
        })
    }

    /// Returns true if there are more blocks than after half of the rounds, when there were some, and none of those is gone.
    pub fn has_grown_late(&self) -> bool {
        let rounds = self.counts.len().saturating_sub(1);
        let half = rounds / 2;
        let grew = self.counts.get(rounds) > self.counts.get(half) && self.counts.get(half) > Some(&0);
        grew && self.born.len() == self.counts.len() && !self.has_lost(half)
    }

    /// Returns true if clearly fewer blocks are left of the later rounds.
    pub fn slows(&self) -> bool {
        let quarter = self.counts.len().saturating_sub(1) / 4;
        let left = as_numbers(self.born.get(quarter + 1..).unwrap_or_default());
        verdict::change(&left).declines(TOLERANCE, CLEARLY)
    }

    /// Adds the blocks of another population.
    pub fn add(&mut self, other: &Self) {
        for (into, from) in [(&mut self.counts, &other.counts), (&mut self.born, &other.born)] {
            into.resize(into.len().max(from.len()), 0);
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        }
    }
}

fn as_numbers(values: &[u64]) -> Vec<f64> {
    values.iter().map(|&value| value as f64).collect()
}

/// A mean per round, and half the width of its 95 % confidence interval.
struct Rate {
    mean: f64,
    within: f64,
}

impl Rate {
    fn of(values: &[u64]) -> Self {
        let (mean, within) = verdict::interval(&as_numbers(values));
        Self { mean, within }
    }

    /// Returns true if the interval is above 0.
    fn is_positive(&self) -> bool {
        self.mean > self.within
    }
}

#[cfg(test)]
mod tests;
