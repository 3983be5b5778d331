//! How fast a container grows, and how certain that is.

use super::container::{Container, LARGE, MIN_REPLACEMENTS, SAME_FACTOR};
use crate::record::Record;
use crate::rounds::{ENOUGH_CALLS, MOST_CALLS};

/// Replacements at the end whose factors are compared.
const COMPARED: usize = 6;
/// Minimum ratio of the rate of an interval to that of the interval before, if the container grows at a constant rate.
/// A container with one entry for each different input grows more and more slowly.
const SLOWEST: f64 = 0.83;
/// With a ratio below this, more rounds are needed to see whether it grows more and more slowly.
const STEADY: f64 = 0.95;
/// Maximum ratio of these rates.
const FASTEST: f64 = 1.6;
/// A container that has not grown after this many times the predicted number of requests counts as bounded.
const OVERDUE: f64 = 1.25;
/// Maximum factor by which a container grows of which few replacements are known.
const LARGEST_FACTOR: f64 = 4.0;
/// The share of the calls before the last replacement in which the rate may be another one: one of this many.
const EARLY: usize = 20;
/// Replacements that are needed for two rates.
const POINTS: usize = 3;
/// Most bytes that the allocator adds to a block: for each of the blocks that are compared.
const SLACK: f64 = 16.0;

/// What is known of a container that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It grows at a constant rate, and longer than a container that is bounded, unless [`super::mark_few`] says otherwise.
    Leaks,
    /// It grows, but may be a cache that is not full yet, or its rate is not known yet.
    Growing,
    /// So few entries came into it that a usual cache would not be full yet ([`super::mark_few`]).
    Few,
    /// It began late: it may be a queue that is emptied now and then, which begins again each time.
    Young,
}

/// The growth of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContainerGrowth {
    /// Bytes per call.
    pub bytes: f64,
    /// Half the width of the interval of `bytes`.
    pub within: f64,
    /// What is known of it.
    pub certainty: Certainty,
    /// True if it grows more slowly than before, but not yet so slowly that it is bounded.
    pub is_slower: bool,
    /// The number of calls that brought something into it, as far as its contents say.
    pub entries: f64,
}

impl Container {
    /// The growth, if it has not stopped after `calls` calls of the run with this record.
    pub fn growth(&self, calls: usize, record: &Record) -> Option<ContainerGrowth> {
        // The heap may be compared between rounds only, so an expected replacement is overdue a round later.
        let (slack, is_cut_short) = (record.requests, record.is_cut_short);
        let is_known = self.grown.len() >= MIN_REPLACEMENTS;
        let (first_at, _) = *self.grown.first()?;
        if !(if is_known { self.grows_evenly() } else { self.grows_exactly() }) {
            return None;
        }
        let &last = self.grown.last()?;
        let number = |&(at, full): &(usize, u32)| (at, f64::from(full));
        let points: Vec<(usize, f64)> = match is_known {
            // The last two replacements or more: the beginning is left out, because the smallest sizes do not double.
            true => {
                let late = self.grown.partition_point(|(at, _)| 5 * at < last.0).min(self.grown.len() - POINTS);
                self.grown[late..].iter().map(number).collect()
            }
            false => std::iter::once((0, 0.0)).chain(self.grown.iter().map(number)).collect(),
        };
        let (first, last) = (*points.first()?, *points.last()?);
        let &middle = points.iter().min_by_key(|(at, _)| (2 * at).abs_diff(last.0 + first.0))?;
        let rate =
            |from: (usize, f64), to: (usize, f64)| (to.0 > from.0).then(|| (to.1 - from.1) / (to.0 - from.0) as f64);
        let bytes = rate(first, last)?;
        let (early, late) = match points.len() {
            2 => (bytes, bytes),
            _ => (rate(first, middle)?, rate(middle, last)?),
        };
        if early <= 0.0 || late <= 0.0 {
            return None;
        }
        let is_constant = (SLOWEST * early..=FASTEST * early).contains(&late);
        let expected = (f64::from(self.size) - last.1).max(0.0) / if is_constant { bytes } else { late };
        let is_young = is_known && 4 * first_at > calls;
        if is_young && last.0 - first_at < slack {
            // Blocks of one round that only follow each other.
            return None;
        }
        let waited = calls.saturating_sub(last.0 + slack) as f64;
        if waited > OVERDUE * expected {
            return None;
        }
        let is_last_chance = is_known || 2 * calls > MOST_CALLS;
        let certainty = match () {
            () if is_young => Certainty::Young,
            // What was in it is gone, so only its largest size is known, which rises by chance, too.
            () if self.is_rewritten && !self.is_as_fast_as_before() => Certainty::Growing,
            // A ring or a cache with fewer entries has stopped by then, or will have after as many calls again.
            () if !is_constant || last.0 < ENOUGH_CALLS && !(is_known && is_cut_short) => Certainty::Growing,
            () if points.len() < POINTS || !is_last_chance => Certainty::Growing,
            () => Certainty::Leaks,
        };
        let (within, is_slower) = ((late - early).abs() / 2.0, late < STEADY * early);
        Some(ContainerGrowth {
            bytes,
            within,
            certainty,
            is_slower,
            entries: self.changes.entries(&self.grown, bytes, calls),
        })
    }

    /// Returns true if the rates between its replacements are the same, but for the first ones.
    fn is_as_fast_as_before(&self) -> bool {
        let last = self.grown.last().map_or(0, |(at, _)| *at);
        let late = self.grown.partition_point(|(at, _)| EARLY * at < last);
        let rate = |pair: &[(usize, u32)]| f64::from(pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0).max(1) as f64;
        let rates = self.grown[late..].windows(2).map(rate);
        let (least, most) = rates.fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
        most <= SAME_FACTOR * least
    }

    /// The sizes at each replacement, and the size now.
    fn sizes(&self) -> Vec<f64> {
        self.grown.iter().map(|(_, full)| f64::from(*full)).chain([f64::from(self.size)]).collect()
    }

    /// Returns true if the last sizes grow by the same factor or by the same number of bytes.
    fn grows_evenly(&self) -> bool {
        let sizes = self.sizes();
        let last = &sizes[sizes.len().saturating_sub(COMPARED)..];
        let is_even = |steps: &mut dyn Iterator<Item = f64>, more_than: f64| {
            let range =
                steps.fold((f64::MAX, 0.0), |(least, most): (f64, f64), step| (least.min(step), most.max(step)));
            range.0 > more_than && range.1 <= SAME_FACTOR * range.0
        };
        is_even(&mut last.windows(2).map(|pair| pair[1] / pair[0].max(1.0)), 1.0)
            || is_even(&mut last.windows(2).map(|pair| pair[1] - pair[0]), f64::from(LARGE))
    }

    /// Returns true if the few replacements are those of a container: a large block that was there from the beginning is
    /// replaced by one of a multiple of its size, and that by one of the same multiple, or with as many more bytes. Blocks
    /// of any sizes do this only by accident.
    fn grows_exactly(&self) -> bool {
        let sizes = self.sizes();
        let [first, second, rest @ ..] = &sizes[..] else { return false };
        let (at, _) = self.grown[0];
        let factor = (second / first).round();
        let is_multiple = |from: f64, to: f64| (to - factor * from).abs() <= SLACK * (factor + 1.0);
        let has_same_step = |from: f64, to: f64| ((to - from) - (second - first)).abs() <= 2.0 * SLACK;
        let later = std::iter::once(second).chain(rest).zip(rest);
        // The more replacements there are, the less likely are they accidents.
        *first >= f64::from(LARGE >> (2 * (self.grown.len() - 1)))
            && 8 * (at.saturating_sub(self.since)) >= 7 * at
            && (2.0..=LARGEST_FACTOR).contains(&factor)
            && is_multiple(*first, *second)
            && later.into_iter().all(|(&from, &to)| is_multiple(from, to) || has_same_step(from, to))
    }
}
