//! Recommends a `max_memory` for each stage from the memory that its runs needed.

use hdrhistogram::Histogram;
use plimsoll_runtime::cap::PAGE;
use plimsoll_runtime::text::grouped;
use serde::{Deserialize, Serialize};

use super::marks::new_histogram;

/// The recommended cap is this multiple of the 99.9th percentile: room for an input that is somewhat larger than those
/// seen.
const HEADROOM: f64 = 1.25;
/// A cap above this multiple of the recommended cap is wasteful, because one bad request can use memory up to the cap.
const WASTEFUL: f64 = 4.0;
/// Minimum number of runs for a 99.9th percentile. With fewer runs, the percentile is their maximum.
const ENOUGH_RUNS: u64 = 1_000;

/// The memory that one stage needed, and its recommended cap. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The pipeline.
    pub pipeline: String,
    /// `preprocess`, `infer` or `postprocess`, or the name of a step.
    pub stage: String,
    /// True for a step, which its pipeline names.
    #[serde(skip_serializing_if = "std::ops::Not::not", default, rename = "step")]
    pub is_step: bool,
    /// The chip of an infer stage; absent for other stages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chip: Option<String>,
    /// The plugin.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// SHA-256 of the plugin.
    pub digest: String,
    /// Number of stage runs, without those that were cancelled and those that got no instance.
    pub runs: u64,
    /// 99.9th percentile of the high-water marks.
    pub p999: u64,
    /// Highest high-water mark.
    pub max: u64,
    /// Number of runs that ended because of the cap.
    pub limit_met: u64,
    /// The current cap.
    pub max_memory: u64,
    /// The recommended cap: a whole number of pages.
    pub recommended: u64,
    /// The problem of the current cap. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
}

/// The figures from which advice is computed.
#[derive(Debug)]
pub struct Needs {
    /// High-water marks in pages.
    pub pages: Histogram<u64>,
    /// The highest mark in bytes.
    pub max: u64,
    /// Number of runs that ended because of the cap.
    pub limit_met: u64,
}

impl Default for Needs {
    fn default() -> Self {
        Self { pages: new_histogram(), max: 0, limit_met: 0 }
    }
}

impl Needs {
    /// The number of runs, and the 99.9th percentile of their high-water marks in bytes.
    pub fn figures(&self) -> (u64, u64) {
        (self.pages.len(), (self.pages.value_at_quantile(0.999) * PAGE).min(self.max))
    }
}

impl Advice {
    /// Sets the recommended cap, and a warning if the current cap `max_memory` is too small or too large.
    #[must_use]
    pub fn judged(mut self, max_memory: u64) -> Self {
        let pages = (self.p999 as f64 * HEADROOM / PAGE as f64).ceil() as u64;
        self.recommended = pages.max(1) * PAGE;
        self.max_memory = max_memory;
        let few = if self.runs < ENOUGH_RUNS { format!(" (only {} runs so far)", self.runs) } else { String::new() };
        self.warning = if self.limit_met > 0 && max_memory < self.recommended {
            Some(format!(
                "the cap of {} bytes ended {} of {} runs, so their real need is unknown; try at least {} bytes{few}",
                grouped(max_memory),
                self.limit_met,
                self.runs,
                grouped(self.recommended)
            ))
        } else if max_memory < self.recommended {
            Some(format!(
                "the cap is close: {} bytes; the 99.9th percentile is {} bytes{few}",
                grouped(max_memory),
                grouped(self.p999)
            ))
        } else if max_memory as f64 > WASTEFUL * self.recommended as f64 {
            Some(format!(
                "the cap is wasteful: {} bytes are {:.0} times the recommended cap{few}",
                grouped(max_memory),
                max_memory as f64 / self.recommended as f64
            ))
        } else {
            None
        };
        self
    }

    /// The stage's key in the configuration.
    pub fn key(&self) -> String {
        match &self.chip {
            Some(chip) if self.is_step => format!("pipelines.{}.steps.{} (chip {chip})", self.pipeline, self.stage),
            None if self.is_step => format!("pipelines.{}.steps.{}", self.pipeline, self.stage),
            Some(chip) => format!("pipelines.{}.chips.{chip}", self.pipeline),
            None => format!("pipelines.{}.{}", self.pipeline, self.stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(pages: &[(u64, u64)], limit_met: u64, cap: u64) -> Advice {
        let mut needs = Needs { limit_met, ..Needs::default() };
        for (pages, runs) in pages {
            needs.pages.record_n(*pages, *runs).expect("it grows");
            needs.max = needs.max.max(pages * PAGE);
        }
        let (runs, p999) = needs.figures();
        let text = String::new;
        let advice = Advice {
            pipeline: text(),
            stage: text(),
            is_step: false,
            chip: None,
            plugin: text(),
            version: text(),
            digest: text(),
            runs,
            p999,
            max: needs.max,
            limit_met,
            max_memory: 0,
            recommended: 0,
            warning: None,
        };
        advice.judged(cap * PAGE)
    }

    #[test]
    fn caps_are_judged_by_the_percentile_with_headroom() {
        // One run in 10,000 is above the percentile.
        let fits = advice(&[(40, 9_999), (100, 1)], 0, 60);
        assert_eq!((fits.p999, fits.recommended, fits.max), (40 * PAGE, 50 * PAGE, 100 * PAGE));
        assert_eq!(fits.warning, None);
        let warned = |advice: Advice| advice.warning.expect("a warning");
        assert!(warned(advice(&[(40, 10_000)], 0, 49)).starts_with("the cap is close: 3,211,264 bytes"));
        assert!(warned(advice(&[(40, 10_000)], 0, 201)).starts_with("the cap is wasteful"));
        assert_eq!(advice(&[(40, 10_000)], 0, 200).warning, None);
        assert!(warned(advice(&[(40, 100)], 7, 40)).contains("ended 7 of 100 runs"));
        assert!(warned(advice(&[(40, 100)], 7, 40)).contains("only 100 runs so far"));
        // 41 · 1.25 is not a whole number of pages, so it is rounded up.
        assert_eq!(advice(&[(41, 10_000)], 0, 60).recommended, 52 * PAGE);
    }
}
