//! The input of the comparison: high-water marks, grouped by the factors that may influence them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use plimsoll_runtime::cap::PAGE;
use plimsoll_runtime::kind::StageName;
use serde::Serialize;

/// A property of a stage run by which memory is compared, and whose mix may explain a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// The chip that the request was routed to.
    Chip,
    /// Plugin, version and digest.
    Version,
    /// The caller, by the configured header.
    Caller,
    /// How the stage ended.
    Outcome,
}

impl Factor {
    /// All factors.
    pub const ALL: [Self; 4] = [Self::Chip, Self::Version, Self::Caller, Self::Outcome];

    /// The name of the factor in the query and in sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chip => "chip",
            Self::Version => "version",
            Self::Caller => "caller",
            Self::Outcome => "outcome",
        }
    }

    /// The factors that may cause a difference between levels of this factor. Version is never one of them, because two
    /// chips often have different versions of an infer plugin; the two sides then have no stratum in common.
    pub(super) fn confounders(self) -> &'static [Self] {
        match self {
            Self::Chip => &[Self::Outcome, Self::Caller],
            Self::Version => &[Self::Outcome, Self::Caller, Self::Chip],
            Self::Caller => &[Self::Outcome, Self::Chip],
            Self::Outcome => &[Self::Caller, Self::Chip],
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no factor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`by={0}` is not supported; use one of `chip`, `version`, `caller` and `outcome`")]
pub struct UnknownFactor(String);

impl FromStr for Factor {
    type Err = UnknownFactor;

    fn from_str(text: &str) -> Result<Self, UnknownFactor> {
        let known = Self::ALL.into_iter().find(|factor| factor.as_str() == text);
        known.ok_or_else(|| UnknownFactor(text.to_owned()))
    }
}

/// High-water marks of the stage runs that have the same level of every factor.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cell {
    /// Number of stage runs.
    pub runs: u64,
    /// The sum of the marks in pages, for the mean.
    pub(super) sum: u64,
    /// The sum of the squared marks in pages squared, for the standard error.
    squares: f64,
    /// The highest mark in bytes.
    pub(super) max: u64,
}

impl Cell {
    /// Counts one run with its high-water mark in bytes.
    pub fn record(&mut self, high_water: u64) {
        let pages = high_water.div_ceil(PAGE);
        self.runs += 1;
        self.sum += pages;
        self.squares += (pages * pages) as f64;
        self.max = self.max.max(high_water);
    }

    /// Adds the counts of another cell.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.sum += other.sum;
        self.squares += other.squares;
        self.max = self.max.max(other.max);
    }

    /// The mean high-water mark in bytes.
    pub(super) fn mean(&self) -> f64 {
        self.sum as f64 * PAGE as f64 / self.runs.max(1) as f64
    }

    /// The variance of the mean, in bytes squared.
    pub(super) fn variance(&self) -> f64 {
        let runs = self.runs.max(1) as f64;
        let mean = self.sum as f64 / runs;
        let page = PAGE as f64;
        (self.squares / runs - mean * mean).max(0.0) * page * page / (runs - 1.0).max(1.0)
    }
}

/// A cell with the properties that identify it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The stage.
    pub stage: StageName,
    /// The plugin.
    pub plugin: Arc<str>,
    /// The level of each factor, in the order of [`Factor::ALL`].
    pub levels: [Arc<str>; 4],
    /// The runs.
    pub cell: Cell,
}

impl Sample {
    pub(super) fn level(&self, factor: Factor) -> &Arc<str> {
        &self.levels[factor as usize]
    }
}
