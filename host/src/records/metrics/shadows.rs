//! The metrics of shadow runs.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use plimsoll_runtime::comparison::{Figures, Scores};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use super::families::{Buckets, MakeHistogram, family, histograms, seconds};
use super::named_registry::Registry;
use crate::records::shadow::pair::ChipPair;

/// A difference above this counts as this.
const LARGEST: f64 = 1e100;

/// The metrics of shadow runs.
pub(in crate::records) struct ShadowMetrics {
    runs: Family<RunLabels, Counter>,
    seconds: Family<PairLabels, Histogram, MakeHistogram>,
    absolute: Family<PairLabels, Histogram, MakeHistogram>,
    relative: Family<PairLabels, Histogram, MakeHistogram>,
    cosine_distance: Family<PairLabels, Histogram, MakeHistogram>,
    rows: Family<PairLabels, Counter>,
    top1: Family<PairLabels, Counter>,
    top5: Family<PairLabels, Counter>,
    /// The series of `runs`.
    counted: Mutex<BTreeSet<RunLabels>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct RunLabels {
    pipeline: String,
    stage: String,
    chip: String,
    shadow: String,
    result: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PairLabels {
    pipeline: String,
    stage: String,
    chip: String,
    shadow: String,
}

impl PairLabels {
    fn of(pair: &ChipPair) -> Self {
        let ChipPair { pipeline, stage, chip, shadow, .. } = pair.clone();
        Self { pipeline, stage, chip, shadow }
    }
}

impl ShadowMetrics {
    pub(super) fn register(registry: &mut Registry, buckets: Buckets) -> Self {
        /// Buckets from 1e-9 to 1000, the range of differences.
        fn differences() -> Histogram {
            Histogram::new(exponential_buckets(1e-9, 10.0, 13))
        }
        let make: MakeHistogram = differences;
        let mut difference = |name: &str, help: &str| histograms(registry, name, help, None, make);
        let absolute = difference("shadow_absolute_difference", "Largest difference of two elements in a shadow run");
        let relative = "Largest difference of two elements in a shadow run, divided by the output's largest magnitude";
        let relative = difference("shadow_relative_difference", relative);
        let cosine_distance = "1 minus the cosine of the outputs in a shadow run";
        let cosine_distance = difference("shadow_cosine_distance", cosine_distance);
        let seconds = seconds(buckets);
        Self {
            runs: family(registry, "shadow_runs", "Shadow runs by result and reason", None),
            seconds: histograms(registry, "shadow_duration", "Duration of a shadow run", Some(Unit::Seconds), seconds),
            absolute,
            relative,
            cosine_distance,
            rows: family(registry, "shadow_score_rows", "Rows of scores that were compared", None),
            top1: family(registry, "shadow_top1_agreements", "Rows of scores with the same best class", None),
            top5: family(
                registry,
                "shadow_top5_agreements",
                "Rows of scores whose best class is among the best five of the shadow",
                None,
            ),
            counted: Mutex::default(),
        }
    }

    /// Counts a run.
    pub(in crate::records) fn count(&self, pair: &ChipPair, result: &'static str, reason: &'static str) {
        let PairLabels { pipeline, stage, chip, shadow } = PairLabels::of(pair);
        let labels = RunLabels { pipeline, stage, chip, shadow, result, reason };
        self.runs.get_or_create(&labels).inc();
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert(labels);
    }

    /// Counts the duration of a run that answered.
    pub(in crate::records) fn observe_time(&self, pair: &ChipPair, time: Duration) {
        self.seconds.get_or_create(&PairLabels::of(pair)).observe(time.as_secs_f64());
    }

    /// Counts the differences of a run.
    pub(in crate::records) fn observe(&self, pair: &ChipPair, figures: &Figures) {
        let labels = PairLabels::of(pair);
        // Two of the largest numbers would make the sum infinite for ever.
        self.absolute.get_or_create(&labels).observe(figures.absolute.min(LARGEST));
        self.relative.get_or_create(&labels).observe(figures.relative);
        self.cosine_distance.get_or_create(&labels).observe(figures.cosine_distance);
        if let Some(Scores { rows, top1, wide, top5 }) = figures.scores {
            self.rows.get_or_create(&labels).inc_by(rows);
            self.top1.get_or_create(&labels).inc_by(top1);
            self.top5.get_or_create(&labels).inc_by(top5 + (rows - wide));
        }
    }

    /// Removes the series of a pair that is gone.
    pub(in crate::records) fn remove(&self, pair: &ChipPair) {
        let labels = PairLabels::of(pair);
        self.seconds.remove(&labels);
        self.absolute.remove(&labels);
        self.relative.remove(&labels);
        self.cosine_distance.remove(&labels);
        self.rows.remove(&labels);
        self.top1.remove(&labels);
        self.top5.remove(&labels);
        let is_gone = |run: &RunLabels| {
            (&run.pipeline, &run.stage, &run.chip, &run.shadow)
                == (&labels.pipeline, &labels.stage, &labels.chip, &labels.shadow)
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for run in counted.extract_if(.., is_gone) {
            self.runs.remove(&run);
        }
    }
}
