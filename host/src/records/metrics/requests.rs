//! The metrics of requests.

use plimsoll_runtime::outcome::Outcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Unit;

use super::families::{Bounds, family, histograms};
use super::named_registry::Registry;
use super::traces::{MakeTraced, TracedHistogram};

/// The metrics of requests.
pub(super) struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<PipelineLabels, TracedHistogram, MakeTraced>,
    queue_seconds: Family<QueueLabels, TracedHistogram, MakeTraced>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    pipeline: String,
    chip: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: String,
    chip: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    pipeline: String,
}

impl RequestMetrics {
    pub(super) fn register(registry: &mut Registry, bounds: Bounds, has_exemplars: bool) -> Self {
        let make = MakeTraced { bounds, has_exemplars };
        Self {
            requests: family(registry, "requests", "Requests by outcome", None),
            seconds: histograms(
                registry,
                "request_duration",
                "Duration of a request",
                Some(Unit::Seconds),
                make.clone(),
            ),
            queue_seconds: histograms(
                registry,
                "request_queue",
                "Time that a request waited for a slot to run",
                Some(Unit::Seconds),
                make,
            ),
        }
    }

    /// The counter of a route's requests with this outcome.
    pub(super) fn requests(&self, pipeline: &str, chip: &str, outcome: Outcome) -> Counter {
        let labels = RequestLabels { pipeline: pipeline.to_owned(), chip: chip.to_owned(), outcome: outcome.as_str() };
        self.requests.get_or_create_owned(&labels)
    }

    /// Removes the metrics of a route that is gone.
    pub(super) fn remove(&self, pipeline: &str, chip: &str) {
        let (pipeline, chip) = (pipeline.to_owned(), chip.to_owned());
        for outcome in Outcome::ALL {
            let labels = RequestLabels { pipeline: pipeline.clone(), chip: chip.clone(), outcome: outcome.as_str() };
            self.requests.remove(&labels);
        }
        self.seconds.remove(&PipelineLabels { pipeline, chip });
    }

    /// The histogram of the times that requests of a pipeline waited, in seconds.
    pub(super) fn queue_seconds(&self, pipeline: &str) -> TracedHistogram {
        self.queue_seconds.get_or_create_owned(&QueueLabels { pipeline: pipeline.to_owned() })
    }

    /// Removes the metrics of a pipeline that is gone.
    pub(super) fn remove_pipeline(&self, pipeline: &str) {
        self.queue_seconds.remove(&QueueLabels { pipeline: pipeline.to_owned() });
    }

    /// The histogram of the durations of a route's requests, in seconds.
    pub(super) fn seconds(&self, pipeline: &str, chip: &str) -> TracedHistogram {
        let labels = PipelineLabels { pipeline: pipeline.to_owned(), chip: chip.to_owned() };
        self.seconds.get_or_create_owned(&labels)
    }
}
