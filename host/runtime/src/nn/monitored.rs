//! A model whose device is monitored: every run is counted in its [`Health`], and while it is out of service, trial runs
//! find out whether the device is back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::cancellation::Cancellation;
use super::error::{Misfit, RunError};
use super::health::Health;
use super::memory::ArenaSizes;
use super::model::{Model, ModelProperties};
use crate::tensor::{Tensor, Tensors};

/// A model with the health of its device.
pub(super) struct MonitoredModel(Arc<Monitored>);

struct Monitored {
    name: String,
    model: Box<dyn Model>,
    health: Arc<Health>,
    /// The inputs of a trial; `None` if the host does not know inputs of this model.
    trial: Option<Vec<Tensor>>,
    /// The runtime on which trials wait. Without one, the model is never taken out of service.
    runtime: Option<Handle>,
}

impl MonitoredModel {
    /// `trial` are inputs that the model accepts. Without them, a trial repeats the run that took the model out of
    /// service.
    pub(super) fn new(name: String, model: Box<dyn Model>, health: Arc<Health>, trial: Option<Vec<Tensor>>) -> Self {
        Self(Arc::new(Monitored { name, model, health, trial, runtime: Handle::try_current().ok() }))
    }
}

impl Monitored {
    /// Counts a run, and starts trials if it takes the model out of service.
    fn record(self: &Arc<Self>, inputs: &[Tensor], result: &Result<Tensors, RunError>) {
        let rows = inputs.first().and_then(|input| input.dimensions.first()).copied().unwrap_or(1);
        // A batch that does not fit into the memory is divided. If the sizes of the inputs are the caller's choice, large
        // inputs say nothing about the device.
        if matches!(result, Err(RunError::OutOfMemory(_))) && (rows > 1 || self.trial.is_none()) {
            return;
        }
        let Some(runtime) = &self.runtime else { return };
        if !self.health.record(result) {
            return;
        }
        let error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            "model {}: its device failed several runs in a row and is out of service; it is tried again every {:?}: {error}",
            self.name,
            self.health.retry()
        );
        let inputs = self.trial.clone().unwrap_or_else(|| inputs.to_vec());
        runtime.spawn(try_until_back(Arc::downgrade(self), inputs));
    }

    /// Makes a trial run. Returns true if the device computed.
    fn is_back(&self, inputs: &[Tensor]) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| self.model.run(inputs))).unwrap_or(Err(RunError::Panicked));
        match result {
            Ok(_) => {
                self.health.put_back();
                tracing::warn!("model {}: its device is in service again", self.name);
                true
            }
            Err(error) => {
                tracing::info!("model {}: its device is still out of service: {error}", self.name);
                false
            }
        }
    }
}

/// Tries the device at intervals, until it is back or the model is dropped.
async fn try_until_back(model: Weak<Monitored>, inputs: Vec<Tensor>) {
    let inputs = Arc::new(inputs);
    loop {
        let Some(retry) = model.upgrade().map(|model| model.health.retry()) else { return };
        tokio::time::sleep(retry).await;
        let Some(model) = model.upgrade() else { return };
        let inputs = Arc::clone(&inputs);
        if tokio::task::spawn_blocking(move || model.is_back(&inputs)).await.unwrap_or(false) {
            return;
        }
    }
}

impl Model for MonitoredModel {
    fn properties(&self) -> &ModelProperties {
        self.0.model.properties()
    }

    fn check_numbers(&self, index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        self.0.model.check_numbers(index, tensor)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_unless_cancelled(inputs, &Cancellation::default())
    }

    /// Refused while the model is out of service: the device may take long to fail.
    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        if let Some(refusal) = self.0.health.refusal() {
            return Err(refusal);
        }
        let result = self.0.model.run_unless_cancelled(inputs, cancellation);
        self.0.record(inputs, &result);
        result
    }

    fn arenas(&self) -> ArenaSizes {
        self.0.model.arenas()
    }

    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.0.model.warm(inputs)
    }
}
