//! Direct standardisation of two levels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::samples::{Cell, Factor, Sample};

/// A difference of means with the same mix of some factors on both sides.
#[derive(Debug, Serialize)]
pub struct Standardised {
    /// The factors whose mix is the same on both sides.
    pub same: Vec<Factor>,
    /// Bytes by which `more` needs more than `less` (negative: less). Absent if no stratum occurs on both sides.
    pub difference: Option<f64>,
    /// Standard error of `difference` in bytes.
    pub standard_error: Option<f64>,
    /// The share (0 to 1) of both sides' runs in strata that occur on both sides. The other runs are not compared.
    pub coverage: f64,
    /// The share of the raw difference that disappears with the same mix (1: all of it).
    pub explained: Option<f64>,
}

/// Two levels of a factor with their samples.
pub(super) struct Sides<'a> {
    pub(super) by: Factor,
    pub(super) more: &'a Arc<str>,
    pub(super) less: &'a Arc<str>,
    pub(super) higher: Vec<&'a Sample>,
    pub(super) lower: Vec<&'a Sample>,
}

type Strata<'a> = BTreeMap<Vec<&'a str>, Cell>;

fn strata<'a>(samples: &[&'a Sample], factors: &[Factor]) -> Strata<'a> {
    let mut strata = Strata::new();
    for sample in samples {
        let stratum = factors.iter().map(|factor| &**sample.level(*factor)).collect();
        strata.entry(stratum).or_default().add(&sample.cell);
    }
    strata
}

impl Sides<'_> {
    /// All runs of each level: first of the level that needs more, then of the other.
    pub(super) fn totals(&self) -> [Cell; 2] {
        [&self.higher, &self.lower].map(|side| strata(side, &[]).remove(&vec![]).unwrap_or_default())
    }

    /// The difference with the same mix of `factors` on both sides. `raw` is the difference as measured, in bytes.
    pub(super) fn standardised(&self, factors: &[Factor], raw: f64) -> Standardised {
        let (higher, lower) = (strata(&self.higher, factors), strata(&self.lower, factors));
        let all: u64 = higher.values().chain(lower.values()).map(|cell| cell.runs).sum();
        let common: Vec<_> = higher.iter().filter_map(|(key, more)| Some((more, lower.get(key)?))).collect();
        let inside: u64 = common.iter().map(|(more, less)| more.runs + less.runs).sum();
        let (mut difference, mut variance) = (0.0, 0.0);
        for (more, less) in &common {
            let weight = (more.runs + less.runs) as f64 / inside as f64;
            difference += weight * (more.mean() - less.mean());
            variance += weight * weight * (more.variance() + less.variance());
        }
        let is_known = !common.is_empty();
        Standardised {
            same: factors.to_vec(),
            difference: is_known.then_some(difference),
            standard_error: is_known.then(|| variance.sqrt()),
            coverage: inside as f64 / all.max(1) as f64,
            explained: (is_known && raw > 0.0).then(|| 1.0 - difference / raw),
        }
    }

    /// The level of a factor whose share exceeds that of the other side the most, with its shares on both sides: first
    /// of `more`, then of `less`.
    pub(super) fn most_different(&self, factor: Factor) -> Option<(String, f64, f64)> {
        let shares = |samples: &[&Sample]| {
            let strata = strata(samples, &[factor]);
            let all: u64 = strata.values().map(|cell| cell.runs).sum();
            strata.into_iter().map(|(key, cell)| (key[0].to_owned(), cell.runs as f64 / all.max(1) as f64)).collect()
        };
        let (higher, lower): (BTreeMap<String, f64>, BTreeMap<_, _>) = (shares(&self.higher), shares(&self.lower));
        let share = |side: &BTreeMap<String, f64>, level: &String| side.get(level).copied().unwrap_or(0.0);
        let levels: BTreeSet<_> = higher.keys().chain(lower.keys()).collect();
        // Only levels that are more frequent in `more` can explain why it needs more, so the sign of the difference
        // counts.
        let by_share = |a: &f64, b: &f64| a.total_cmp(b);
        let level = levels.into_iter().max_by(|a, b| {
            by_share(&(share(&higher, a) - share(&lower, a)), &(share(&higher, b) - share(&lower, b)))
        })?;
        Some((level.clone(), share(&higher, level), share(&lower, level)))
    }
}
