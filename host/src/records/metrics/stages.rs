//! The metrics of stage runs.

use std::sync::OnceLock;

use plimsoll_runtime::kind::StageName;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::families::{Buckets, bytes_bounds, family, histograms, seconds_bounds};
use super::named_registry::Registry;
use super::stage_labels::{StageLabels, short};
use super::traces::{MakeTraced, TracedHistogram};
use crate::records::key::SeriesKey;

/// The metrics of one series of stage runs.
pub struct StageMetrics {
    /// The durations of the runs, in seconds.
    pub seconds: TracedHistogram,
    /// The high-water marks of the runs, in bytes.
    pub high_water: TracedHistogram,
    refused: Refused,
}

/// The number of growths that the cap refused. It becomes a series with the first one, because most stages have none.
struct Refused {
    family: Family<OutcomeLabels, Counter>,
    labels: OutcomeLabels,
    counter: OnceLock<Counter>,
}

impl StageMetrics {
    /// Counts growths that the cap refused.
    pub fn count_refused(&self, growths: u64) {
        let Refused { family, labels, counter } = &self.refused;
        if growths > 0 {
            counter.get_or_init(|| family.get_or_create_owned(labels)).inc_by(growths);
        }
    }
}

/// The metrics of all stage runs.
pub(super) struct StageFamilies {
    seconds: Family<OutcomeLabels, TracedHistogram, MakeTraced>,
    high_water: Family<OutcomeLabels, TracedHistogram, MakeTraced>,
    refused: Family<OutcomeLabels, Counter>,
    live: Family<LiveLabels, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LiveLabels {
    pipeline: String,
    stage: String,
    plugin: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    #[prometheus(flatten)]
    stage: StageLabels,
    outcome: &'static str,
}

impl OutcomeLabels {
    fn of(key: &SeriesKey) -> Self {
        let SeriesKey { pipeline, stage, plugin, version, digest, chip, outcome } = key;
        let stage = StageLabels {
            pipeline: pipeline.to_string(),
            stage: stage.to_string(),
            plugin: plugin.to_string(),
            version: version.to_string(),
            digest: short(digest),
            chip: chip.to_string(),
        };
        Self { stage, outcome: outcome.as_str() }
    }
}

impl StageFamilies {
    pub(super) fn register(registry: &mut Registry, buckets: Buckets, has_exemplars: bool) -> Self {
        let make = |bounds| MakeTraced { bounds, has_exemplars };
        let marks = "High-water mark of the linear memory of a stage run";
        let refused = "Memory growths that the cap refused";
        if buckets == Buckets::None {
            // They count, but are not shown.
            return Self {
                seconds: Family::new_with_constructor(make(seconds_bounds(buckets))),
                high_water: Family::new_with_constructor(make(bytes_bounds(buckets))),
                refused: family(registry, "stage_refused_growths", refused, None),
                live: Family::default(),
            };
        }
        Self {
            seconds: histograms(
                registry,
                "stage_duration",
                "Duration of a stage run",
                Some(Unit::Seconds),
                make(seconds_bounds(buckets)),
            ),
            high_water: histograms(registry, "stage_high_water", marks, Some(Unit::Bytes), make(bytes_bounds(buckets))),
            refused: family(registry, "stage_refused_growths", refused, None),
            live: family(registry, "stage_live_instances", "Live instances", None),
        }
    }

    /// Returns the metrics of a series and creates them if needed.
    pub(super) fn series(&self, key: &SeriesKey) -> StageMetrics {
        let labels = OutcomeLabels::of(key);
        StageMetrics {
            seconds: self.seconds.get_or_create_owned(&labels),
            high_water: self.high_water.get_or_create_owned(&labels),
            refused: Refused { family: self.refused.clone(), labels, counter: OnceLock::new() },
        }
    }

    /// Removes a series.
    pub(super) fn remove(&self, key: &SeriesKey) {
        let labels = OutcomeLabels::of(key);
        self.seconds.remove(&labels);
        self.high_water.remove(&labels);
        self.refused.remove(&labels);
    }

    /// The number of live instances of a plugin as a stage of a pipeline.
    pub(super) fn live(&self, pipeline: &str, stage: &StageName, plugin: &str) -> Gauge {
        let labels = LiveLabels { pipeline: pipeline.to_owned(), stage: stage.to_string(), plugin: plugin.to_owned() };
        self.live.get_or_create_owned(&labels)
    }

    /// Removes the number of live instances of a plugin that is gone.
    pub(super) fn remove_live(&self, pipeline: &str, stage: &StageName, plugin: &str) {
        let labels = LiveLabels { pipeline: pipeline.to_owned(), stage: stage.to_string(), plugin: plugin.to_owned() };
        self.live.remove(&labels);
    }
}
