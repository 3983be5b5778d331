//! The metrics of the devices that models run on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use plimsoll_runtime::nn::{HealthObserver, LoadedModel};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::family;
use super::named_registry::Registry;

/// The metrics of the devices of all models. Clones share the same metrics.
#[derive(Clone)]
pub struct DeviceMetrics {
    failures: Family<ModelLabels, Counter>,
    in_service: Family<ModelLabels, Gauge>,
    hung: Family<ModelLabels, Gauge>,
    /// The models that have series.
    models: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// The device of one model.
struct ModelDevice {
    all: DeviceMetrics,
    labels: ModelLabels,
}

impl DeviceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let failures = "Runs of a model in which its device failed";
        let in_service = "1 if the device of a model is in service, 0 after it failed several runs in a row or hung";
        let hung = "Runs of a model that have not ended in time and hold their sessions";
        Self {
            failures: family(registry, "model_device_failures", failures, None),
            in_service: family(registry, "model_in_service", in_service, None),
            hung: family(registry, "model_hung_runs", hung, None),
            models: Arc::default(),
        }
    }

    /// Returns the observer of the device of a model.
    pub fn for_model(&self, model: &str) -> Arc<dyn HealthObserver> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_owned());
        Arc::new(ModelDevice { all: self.clone(), labels: ModelLabels { model: model.to_owned() } })
    }

    /// Sets the gauges to the state of the models that are loaded. A model that was replaced or refused may have set them.
    pub(super) fn update(&self, loaded: &[Arc<LoadedModel>]) {
        let mut states: BTreeMap<&str, (bool, u64)> = BTreeMap::new();
        for model in loaded {
            let (is_in_service, hung) = states.entry(model.name()).or_insert((true, 0));
            *is_in_service &= model.is_in_service();
            *hung += model.hung_runs();
        }
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        for (model, (is_in_service, hung)) in states.into_iter().filter(|(model, _)| models.contains(*model)) {
            let device = ModelDevice { all: self.clone(), labels: ModelLabels { model: model.to_owned() } };
            device.changed(is_in_service);
            device.hung(hung);
        }
    }

    /// Removes the series of the models that are gone.
    pub(super) fn retain(&self, is_known: impl Fn(&str) -> bool) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        for model in models.extract_if(.., |model| !is_known(model)) {
            let labels = ModelLabels { model };
            self.failures.remove(&labels);
            self.in_service.remove(&labels);
            self.hung.remove(&labels);
        }
    }
}

impl HealthObserver for ModelDevice {
    fn failed(&self) {
        self.all.failures.get_or_create(&self.labels).inc();
    }

    fn changed(&self, is_in_service: bool) {
        self.all.in_service.get_or_create(&self.labels).set(is_in_service.into());
    }

    fn hung(&self, runs: u64) {
        self.all.hung.get_or_create(&self.labels).set(i64::try_from(runs).unwrap_or(i64::MAX));
    }
}
