//! The metrics of model batches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use plimsoll_runtime::nn::BatchObserver;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::devices::DeviceMetrics;
use super::families::{Buckets, MakeHistogram, family, histograms, rows, seconds};
use super::faults::TaskPanics;
use super::named_registry::Registry;

/// The name of the tasks that form batches.
const TASK: &str = "batches";

/// The batch metrics of all models. Clones share the same metrics.
#[derive(Clone)]
pub struct BatchMetrics {
    /// The metrics of the devices of models.
    pub devices: DeviceMetrics,
    task_panics: TaskPanics,
    rows: Family<ModelLabels, Histogram, MakeHistogram>,
    requests: Family<ModelLabels, Counter>,
    padding: Family<ModelLabels, Counter>,
    copied: Family<ModelLabels, Counter>,
    waited: Family<ModelLabels, Histogram, MakeHistogram>,
    /// The models that have series.
    models: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// The batch metrics of one model. They become series with the first batch.
struct ModelBatches {
    all: BatchMetrics,
    labels: ModelLabels,
    series: OnceLock<(Histogram, Counter, Histogram)>,
}

impl BatchMetrics {
    pub(super) fn register(registry: &mut Registry, buckets: Buckets, task_panics: TaskPanics) -> Self {
        let waited = "Time that the first request of a batch waited";
        Self {
            devices: DeviceMetrics::register(registry),
            task_panics,
            rows: histograms(registry, "model_batch_rows", "Rows in a model batch", None, rows),
            requests: family(registry, "model_batched_requests", "Runs that were combined into batches", None),
            padding: family(registry, "model_padding_rows", "Rows added to batches to reach a prepared size", None),
            copied: family(
                registry,
                "model_batch_copied",
                "Bytes of inputs that were written into the buffers of batches",
                Some(Unit::Bytes),
            ),
            waited: histograms(registry, "model_batch_wait", waited, Some(Unit::Seconds), seconds(buckets)),
            models: Arc::default(),
        }
    }

    /// Returns the observer that counts the batches of a model.
    pub fn for_model(&self, model: &str) -> Arc<dyn BatchObserver> {
        let labels = ModelLabels { model: model.to_owned() };
        self.task_panics.register(TASK);
        Arc::new(ModelBatches { all: self.clone(), labels, series: OnceLock::new() })
    }

    /// Removes the series of the models that are gone.
    pub fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.devices.retain(&is_known);
        for model in self.models().extract_if(.., |model| !is_known(model)) {
            let labels = ModelLabels { model };
            self.rows.remove(&labels);
            self.requests.remove(&labels);
            self.padding.remove(&labels);
            self.copied.remove(&labels);
            self.waited.remove(&labels);
        }
    }

    fn models(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BatchObserver for ModelBatches {
    fn model(&self) -> &str {
        &self.labels.model
    }

    fn batch(&self, rows: u32, requests: usize, waited: Duration) {
        let Self { all, labels, series } = self;
        let (all_rows, all_requests, all_waited) = series.get_or_init(|| {
            all.models().insert(labels.model.clone());
            let (rows, waited) = (all.rows.get_or_create_owned(labels), all.waited.get_or_create_owned(labels));
            (rows, all.requests.get_or_create_owned(labels), waited)
        });
        all_rows.observe(f64::from(rows));
        all_requests.inc_by(requests as u64);
        all_waited.observe(waited.as_secs_f64());
    }

    fn padded(&self, rows: u32) {
        self.all.models().insert(self.labels.model.clone());
        self.all.padding.get_or_create(&self.labels).inc_by(rows.into());
    }

    fn copied(&self, bytes: usize) {
        self.all.models().insert(self.labels.model.clone());
        self.all.copied.get_or_create(&self.labels).inc_by(bytes as u64);
    }

    fn panicked(&self) {
        self.all.task_panics.inc(TASK);
    }
}
