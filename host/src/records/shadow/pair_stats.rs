//! The figures of two chips.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_runtime::comparison::{Comparison, Figures};
use plimsoll_runtime::text::shortened;

use super::output_stats::OutputStats;
use super::pair::{ChipPair, ComparedRun, Times};
use super::report::{Largest, MeanSeconds, PairReport};

/// Maximum number of outputs with figures: a plugin can invent names.
const MAX_OUTPUTS: usize = 64;

/// The figures of two chips.
#[derive(Default)]
pub(super) struct PairStats {
    compared: u64,
    mismatched: BTreeMap<&'static str, u64>,
    failed: BTreeMap<&'static str, u64>,
    skipped: BTreeMap<&'static str, u64>,
    /// Runs in which the best class of a row differs.
    other_best: u64,
    time: Duration,
    shadow_time: Duration,
    largest: Option<Largest>,
    outputs: BTreeMap<String, OutputStats>,
}

impl PairStats {
    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// Counts a failure. Returns how many there are of this kind.
    pub(super) fn fail(&mut self, outcome: &'static str) -> u64 {
        let count = self.failed.entry(outcome).or_default();
        *count += 1;
        *count
    }

    /// Counts a comparison. Returns why its input is worth recording, if it is: a new largest difference, and the first,
    /// second, fourth, eighth … of the others.
    pub(super) fn compare(&mut self, run: ComparedRun<'_>, comparison: &Comparison, times: Times) -> Option<String> {
        for (name, compared) in &comparison.outputs {
            let Ok(figures) = compared else { continue };
            let has_room = self.outputs.len() < MAX_OUTPUTS;
            match self.outputs.get_mut(name) {
                Some(output) => output.add(figures),
                None if has_room => {
                    self.outputs.entry(name.clone()).or_default().add(figures);
                }
                None => {}
            }
        }
        if let Some((output, mismatch)) = comparison.mismatch() {
            let count = self.mismatched.entry(mismatch.as_str()).or_default();
            *count += 1;
            let reason = format!("{} differs: output {}", mismatch.as_str(), shortened(output));
            return count.is_power_of_two().then_some(reason);
        }
        self.compared += 1;
        self.time += times.chip;
        self.shadow_time += times.shadow;
        let Figures { relative, scores, .. } = comparison.largest()?;
        let is_largest = relative > self.largest.as_ref().map_or(0.0, |largest| largest.relative);
        if is_largest {
            self.largest = Some(Largest { request: run.request.to_owned(), item: run.item, relative });
        }
        let mut is_notable = is_largest;
        let mut reason = format!("relative difference {relative:.1e}");
        if scores.is_some_and(|scores| scores.top1 < scores.rows) {
            self.other_best += 1;
            is_notable |= self.other_best.is_power_of_two();
            reason += ", the best class differs";
        }
        is_notable.then_some(reason)
    }

    pub(super) fn report(&self, pair: &ChipPair) -> PairReport {
        let mean = |time: Duration| if self.compared == 0 { 0.0 } else { time.as_secs_f64() / self.compared as f64 };
        PairReport {
            pipeline: pair.pipeline.clone(),
            version: pair.version.clone(),
            stage: pair.stage.clone(),
            chip: pair.chip.clone(),
            shadow: pair.shadow.clone(),
            compared: self.compared,
            mismatched: self.mismatched.clone(),
            failed: self.failed.clone(),
            skipped: self.skipped.clone(),
            mean_seconds: MeanSeconds { chip: mean(self.time), shadow: mean(self.shadow_time) },
            largest: self.largest.clone(),
            outputs: self.outputs.iter().map(|(name, output)| output.report(name)).collect(),
        }
    }
}
