//! A model whose device is monitored: every run is counted in its [`Health`], and while it is out of service, trial runs
//! find out whether the device is back.
//!
//! A run on a device that may hang is made by a thread of its own (`workers.rs`). If it does not end in time, its caller gets
//! an error and continues; the thread and the session (`slots.rs`) stay taken until the run ends.

mod bounded_run;
mod slots;
mod workers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::slots::Slots;
use self::workers::{Handover, Workers};
use super::cancellation::Cancellation;
use super::error::{Misfit, RunError};
use super::health::Health;
use super::host_buffers::HostBuffer;
use super::memory::ArenaSizes;
use super::model::{Model, ModelProperties};
use crate::tensor::{Tensor, Tensors};

/// How long figures of allocators are waited for.
const ANSWER: Duration = Duration::from_millis(500);

/// Makes the inputs of a trial.
pub(super) type Trial = Box<dyn Fn() -> Option<Vec<Tensor>> + Send + Sync>;

/// A model with the health of its device.
pub(super) struct MonitoredModel(Arc<Monitored>);

struct Monitored {
    name: String,
    model: Box<dyn Model>,
    health: Arc<Health>,
    /// The inputs of a trial; `None` if the host does not know inputs of this model.
    trial: Option<Trial>,
    /// The runtime on which trials wait. Without one, the model is never taken out of service.
    runtime: Option<Handle>,
    slots: Arc<Slots>,
    workers: Arc<Workers>,
    /// The last figures of the library's allocators.
    arenas: Mutex<ArenaSizes>,
    /// True while a thread asks for these figures.
    is_asked: AtomicBool,
}

impl MonitoredModel {
    /// `trial` are inputs for trial runs. Without them, or if the model refuses them, a trial repeats the run that took the
    /// model out of service.
    pub(super) fn new(name: String, model: Box<dyn Model>, health: Arc<Health>, trial: Option<Trial>) -> Self {
        let slots = Slots::new(model.properties().concurrent_runs.max(1));
        let (runtime, workers, arenas) = (Handle::try_current().ok(), Arc::default(), Mutex::default());
        let is_asked = AtomicBool::new(false);
        Self(Arc::new(Monitored { name, model, health, trial, runtime, slots, workers, arenas, is_asked }))
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
        let Some(outage) = self.health.record(result) else { return };
        let error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let reason = match result {
            Err(RunError::Hung { .. }) => "hangs",
            _ => "failed several runs in a row",
        };
        tracing::error!(
            "model {}: its device {reason} and is out of service; it is tried again every {:?}: {error}",
            self.name,
            self.health.retry()
        );
        let trials = self.trial.iter().filter_map(|make| make()).chain([inputs.to_vec()]).collect();
        runtime.spawn(try_until_back(Arc::downgrade(self), trials, outage));
    }

    /// Makes a trial run with the first inputs that the model does not refuse. Returns true if the device is back.
    fn is_back(self: &Arc<Self>, trials: &[Vec<Tensor>]) -> bool {
        let mut refusal = None;
        for inputs in trials {
            let Some(slot) = self.slots.try_acquire() else {
                let sessions = self.model.properties().concurrent_runs;
                tracing::info!(
                    "model {}: it is not tried, because runs that have not ended hold all sessions ({sessions})",
                    self.name
                );
                return false;
            };
            let run = || self.run_in(slot, inputs, &Cancellation::default());
            match catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(RunError::Panicked)) {
                Ok(_) => {
                    self.put_back("its device is in service again");
                    return true;
                }
                Err(error) if error.is_of_inputs() => refusal = Some(error),
                Err(error) => {
                    tracing::info!("model {}: its device is still out of service: {error}", self.name);
                    return false;
                }
            }
        }
        // The device answers, and more trials would tell no more.
        if let Some(error) = refusal {
            self.put_back(&format!("its device answers, and the model refuses the inputs of trials ({error})"));
        }
        true
    }

    fn put_back(&self, reason: &str) {
        self.health.put_back();
        tracing::warn!("model {}: {reason}", self.name);
    }
}

/// Tries the device at intervals, until it is back or the model is dropped.
async fn try_until_back(model: Weak<Monitored>, trials: Vec<Vec<Tensor>>, outage: u64) {
    let trials = Arc::new(trials);
    loop {
        let Some(retry) = model.upgrade().map(|model| model.health.retry()) else { return };
        tokio::time::sleep(retry).await;
        // A run that ended late may have put it back.
        let Some(model) = model.upgrade().filter(|model| model.health.is_out_since(outage)) else { return };
        let trials = Arc::clone(&trials);
        if tokio::task::spawn_blocking(move || model.is_back(&trials)).await.unwrap_or(false) {
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
        // Only runs that have not ended can hold a slot that the permits of the model have given to this run.
        let result = match self.0.slots.acquire(self.0.health.hang_after()) {
            Some(slot) => self.0.run_in(slot, inputs, cancellation),
            None => Err(RunError::Device("runs that have not ended hold all sessions of the model".to_owned())),
        };
        self.0.record(inputs, &result);
        result
    }

    /// A run that hangs may hold the lock of an allocator, and the question would wait for it. So on a device that may hang a
    /// thread of its own asks, and the last figures are given while it has no answer.
    fn arenas(&self) -> ArenaSizes {
        let this = &self.0;
        if this.health.hang_after().is_none() {
            return this.model.arenas();
        }
        if !this.health.has_hung() && !this.is_asked.swap(true, AcqRel) {
            let answer = Arc::new(Handover::default());
            let job = {
                let (this, answer) = (Arc::clone(this), Arc::clone(&answer));
                move || {
                    if let Ok(sizes) = catch_unwind(AssertUnwindSafe(|| this.model.arenas())) {
                        *this.arenas.lock().unwrap_or_else(PoisonError::into_inner) = sizes;
                    }
                    this.is_asked.store(false, Release);
                    answer.give(());
                }
            };
            match this.workers.start(Box::new(job)) {
                None => {
                    answer.wait(ANSWER, || ());
                }
                Some(_) => this.is_asked.store(false, Release),
            }
        }
        *this.arenas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        let since = Instant::now();
        let result = self.0.model.warm(inputs);
        if result.is_ok() {
            self.0.health.record_time(since.elapsed());
        }
        result
    }

    fn reserve_buffers(&self, sizes: &[usize]) {
        self.0.model.reserve_buffers(sizes);
    }

    fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        self.0.model.buffer(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::Duration;

    use super::*;
    use crate::nn::health::{HealthObserver, HealthRules};
    use crate::tensor::TensorType;

    /// A model on a device that can be lost. It refuses each number but one.
    struct OneNumber {
        properties: ModelProperties,
        accepted: u8,
        is_lost: Arc<AtomicBool>,
    }

    impl Model for OneNumber {
        fn properties(&self) -> &ModelProperties {
            &self.properties
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
            let number = inputs[0].data[0];
            match number == self.accepted {
                false => Err(RunError::backend("an index outside of the table")),
                true if self.is_lost.load(Relaxed) => Err(RunError::Device("lost".to_owned())),
                true => Ok(Vec::new()),
            }
        }
    }

    struct Unobserved;

    impl HealthObserver for Unobserved {
        fn failed(&self) {}
        fn changed(&self, _is_in_service: bool) {}
        fn hung(&self, _runs: u64) {}
    }

    fn number(number: u8) -> Vec<Tensor> {
        vec![Tensor::new(vec![1], TensorType::U8, vec![number])]
    }

    /// The trial's inputs are made by the host, and a model may refuse them for reasons of its own. Without another trial, a
    /// device that is back would be out of service until a restart.
    #[tokio::test]
    async fn a_model_that_refuses_the_inputs_of_the_host_comes_back() {
        for trial in [Some(number(0)), None] {
            let (is_lost, health) = (Arc::new(AtomicBool::new(true)), Arc::new(Health::default()));
            let rules = HealthRules { failures: 2, retry: Duration::from_millis(1), ..HealthRules::default() };
            health.configure(rules, Arc::new(Unobserved));
            let properties = ModelProperties::on_cpu(Vec::new(), Vec::new(), 1);
            let model = OneNumber { properties, accepted: 7, is_lost: Arc::clone(&is_lost) };
            let made = trial.clone();
            let trial_of = made.map(|inputs| Box::new(move || Some(inputs.clone())) as Trial);
            let model = MonitoredModel::new("m".into(), Box::new(model), Arc::clone(&health), trial_of);
            for _ in 0..2 {
                assert!(matches!(model.run(&number(7)), Err(RunError::Device(_))));
            }
            let trials: Vec<_> = trial.into_iter().chain([number(7)]).collect();
            assert!(!model.0.is_back(&trials), "it is still lost, and a refusal does not hide that");
            assert!(health.refusal().is_some());
            is_lost.store(false, Relaxed);
            while health.refusal().is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            model.run(&number(7)).expect("in service");
        }
    }

    #[tokio::test]
    async fn a_device_that_refuses_every_trial_answers() {
        let (is_lost, health) = (Arc::new(AtomicBool::new(true)), Arc::new(Health::default()));
        let properties = ModelProperties::on_cpu(Vec::new(), Vec::new(), 1);
        let model = OneNumber { properties, accepted: 7, is_lost };
        let model = MonitoredModel::new("m".into(), Box::new(model), health, None);
        assert!(model.0.is_back(&[number(0), number(1)]));
    }
}
