//! Everything that is counted about shadow runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_runtime::comparison::Comparison;
use plimsoll_runtime::outcome::Outcome;

use super::pair::{ChipPair, ComparedRun, Skipped, Times};
use super::pair_stats::PairStats;
use super::report::PairReport;
use crate::records::metrics::Metrics;

/// The figures of all pairs of chips.
pub struct ShadowStats {
    pairs: Mutex<BTreeMap<ChipPair, PairStats>>,
    metrics: Arc<Metrics>,
}

impl ShadowStats {
    pub(in crate::records) fn new(metrics: Arc<Metrics>) -> Self {
        Self { pairs: Mutex::default(), metrics }
    }

    /// Counts a run that was skipped.
    pub fn skip(&self, pair: &ChipPair, reason: Skipped) {
        self.metrics.shadows().count(pair, "skipped", reason.as_str());
        self.lock().entry(pair.clone()).or_default().skip(reason.as_str());
    }

    /// Counts a run in which the shadow failed. Returns how many of this kind there are.
    pub fn fail(&self, pair: &ChipPair, outcome: Outcome) -> u64 {
        self.metrics.shadows().count(pair, "failed", outcome.as_str());
        self.lock().entry(pair.clone()).or_default().fail(outcome.as_str())
    }

    /// Counts a comparison. Returns why its input is worth recording, if it is.
    pub fn compare(
        &self,
        pair: &ChipPair,
        run: ComparedRun<'_>,
        comparison: &Comparison,
        times: Times,
    ) -> Option<String> {
        let metrics = self.metrics.shadows();
        metrics.observe_time(pair, times.shadow);
        match (comparison.mismatch(), comparison.largest()) {
            (Some((_, mismatch)), _) => metrics.count(pair, "mismatched", mismatch.as_str()),
            (None, figures) => {
                metrics.count(pair, "compared", "");
                if let Some(figures) = figures {
                    metrics.observe(pair, &figures);
                }
            }
        }
        self.lock().entry(pair.clone()).or_default().compare(run, comparison, times)
    }

    /// The figures, of one pipeline or of all.
    pub fn report(&self, pipeline: Option<&str>) -> Vec<PairReport> {
        let pairs = self.lock();
        let wanted = pairs.iter().filter(|(pair, _)| pipeline.is_none_or(|name| name == pair.pipeline));
        wanted.map(|(pair, stats)| stats.report(pair)).collect()
    }

    /// Forgets the pairs that are not served any more.
    pub(crate) fn retain(&self, is_served: impl Fn(&ChipPair) -> bool) {
        let mut pairs = self.lock();
        let gone: Vec<_> = pairs.extract_if(.., |pair, _| !is_served(pair)).map(|(pair, _)| pair).collect();
        for pair in gone {
            let same_labels = |other: &ChipPair| ChipPair { version: pair.version.clone(), ..other.clone() } == pair;
            if !pairs.keys().any(same_labels) {
                self.metrics.shadows().remove(&pair);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChipPair, PairStats>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
