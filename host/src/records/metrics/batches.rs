//! The metrics of model batches.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_runtime::nn::BatchObserver;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::families::{MakeHistogram, family, histograms, rows, seconds};

/// The batch metrics of all models. Clones share the same metrics.
#[derive(Clone)]
pub struct BatchMetrics {
    rows: Family<ModelLabels, Histogram, MakeHistogram>,
    requests: Family<ModelLabels, Counter>,
    waited: Family<ModelLabels, Histogram, MakeHistogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// The batch metrics of one model.
struct ModelBatches {
    rows: Histogram,
    requests: Counter,
    waited: Histogram,
}

impl BatchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let waited = "Time that the first request of a batch waited";
        Self {
            rows: histograms(registry, "model_batch_rows", "Rows in a model batch", None, rows),
            requests: family(registry, "model_batched_requests", "Runs that were combined into batches", None),
            waited: histograms(registry, "model_batch_wait", waited, Some(Unit::Seconds), seconds),
        }
    }

    /// Returns the observer that counts the batches of a model.
    pub fn for_model(&self, model: &str) -> Arc<dyn BatchObserver> {
        let labels = ModelLabels { model: model.to_owned() };
        Arc::new(ModelBatches {
            rows: self.rows.get_or_create_owned(&labels),
            requests: self.requests.get_or_create_owned(&labels),
            waited: self.waited.get_or_create_owned(&labels),
        })
    }
}

impl BatchObserver for ModelBatches {
    fn batch(&self, rows: u32, requests: usize, waited: Duration) {
        self.rows.observe(f64::from(rows));
        self.requests.inc_by(requests as u64);
        self.waited.observe(waited.as_secs_f64());
    }
}
