//! The highest marks of the last ten minutes, beside the caps: a histogram is too coarse to show that a mark is near its
//! cap. The metrics are set when they are read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::kind::StageName;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::families::{family, gauge};
use super::named_registry::Registry;
use super::stage_labels::{StageLabels, short};

/// The highest mark of a version of a plugin, as a stage of a pipeline on a chip.
pub struct StageMark {
    /// The pipeline.
    pub pipeline: String,
    /// The chip.
    pub chip: String,
    /// The stage or step.
    pub stage: StageName,
    /// The version.
    pub plugin: Identity,
    /// The highest mark of the last ten minutes in bytes; 0 without a run.
    pub highest: u64,
    /// The cap in bytes.
    pub cap: u64,
}

/// The metrics of the highest marks.
pub(super) struct MarkMetrics {
    highest: Family<StageLabels, Gauge>,
    cap: Family<StageLabels, Gauge>,
    /// The series that exist.
    series: Mutex<BTreeSet<StageLabels>>,
}

impl MarkMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let highest = "Highest high-water mark of a stage in the last ten minutes, whatever the outcome";
        let cap = "Cap of the linear memory of a stage";
        Self {
            highest: family(registry, "stage_highest_mark", highest, Some(Unit::Bytes)),
            cap: family(registry, "stage_memory_cap", cap, Some(Unit::Bytes)),
            series: Mutex::default(),
        }
    }

    /// Sets the metrics. Removes the series that have no mark any more.
    pub(super) fn set(&self, marks: Vec<StageMark>) {
        let mut series = BTreeSet::new();
        for StageMark { pipeline, chip, stage, plugin, highest, cap } in marks {
            let labels = StageLabels {
                pipeline,
                stage: stage.to_string(),
                plugin: plugin.name.to_string(),
                version: plugin.version.to_string(),
                digest: short(&plugin.digest),
                chip,
            };
            self.highest.get_or_create(&labels).set(gauge(highest));
            self.cap.get_or_create(&labels).set(gauge(cap));
            series.insert(labels);
        }
        let mut known = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.difference(&series) {
            self.highest.remove(gone);
            self.cap.remove(gone);
        }
        *known = series;
    }
}
