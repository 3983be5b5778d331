//! What is compared: high-water marks, told apart by what may have to do with them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use plimsoll_runtime::cap::PAGE;
use plimsoll_runtime::kind::StageKind;
use serde::Serialize;

/// What memory is compared by, and what a mix can be a mix of.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chip, Self::Version, Self::Caller, Self::Outcome];

    /// The word for it in the query and in sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chip => "chip",
            Self::Version => "version",
            Self::Caller => "caller",
            Self::Outcome => "outcome",
        }
    }

    /// What may lie behind a difference between levels of this factor. Two chips may well have two versions of an
    /// infer plugin, and then no stratum is common; so a version lies behind nothing.
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

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|factor| factor.as_str() == text);
        known.ok_or_else(|| {
            format!("`by={text}` is nothing to compare by; write one of `chip`, `version`, `caller` and `outcome`")
        })
    }
}

/// High-water marks of the stage runs that are alike in everything that is told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cell {
    /// Stage runs.
    pub runs: u64,
    /// In pages, for the mean.
    pub(super) sum: u64,
    /// In pages squared, for the standard error.
    squares: f64,
    /// In bytes.
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

    /// Takes over what another cell counted.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.sum += other.sum;
        self.squares += other.squares;
        self.max = self.max.max(other.max);
    }

    /// Bytes.
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

/// A cell, and what it is told apart by.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The kind of stage.
    pub stage: StageKind,
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
