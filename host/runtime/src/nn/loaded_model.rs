//! A model that is ready, and one run of it on any backend.

mod background;
mod compared;
mod facts;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::agreement::Agreement;
use super::batch::{self, BatchRules, Batcher, Batches, HeldPermits};
use super::cancellation::Cancellation;
use super::chip::{log_binding, log_placement};
use super::device::Device;
use super::error::{InputError, LoadError, NnError, NnErrorKind, RunError};
use super::health::{Health, HealthObserver, HealthRules};
use super::memory::{LoadFigures, MemoryMeter};
use super::model::Model;
use super::monitored::{MonitoredModel, Trial};
use super::run_queue::{RunQueue, acquire};
use super::size_limit::SizeLimit;
use crate::cap::Meter;
use crate::scheduling::cpu_time::thread_cpu_time;
use crate::scheduling::{Priority, Scheduling, ShortRunDetector};
use crate::tensor::{Tensor, Tensors};
use crate::text::shortened;

/// A model with its name and the bounds on its concurrent runs.
pub struct LoadedModel {
    name: String,
    digest: String,
    model: Arc<dyn Model>,
    /// The same model for runs that join no batch: with batches, it gets prepared numbers of rows only.
    unbatched: Arc<dyn Model>,
    /// Present if runs are combined into batches.
    batcher: Option<Batcher>,
    batch_rules: Option<BatchRules>,
    /// Bounds the runs of this model.
    model_permits: Arc<Semaphore>,
    /// The runs that wait for a thread.
    queue: Arc<RunQueue>,
    short_runs: ShortRunDetector,
    size_limit: Option<Arc<SizeLimit>>,
    health: Arc<Health>,
    /// Present if the memory was measured when the model was loaded.
    memory: Option<MemoryMeter>,
    agreement: Option<Agreement>,
    differences: Vec<String>,
    /// The backend, and the target in the configuration.
    runs_on: (String, String),
}

impl LoadedModel {
    /// `digest` is the SHA-256 of the model's file, and `bytes` are its contents: runs whose values would be too large to
    /// allocate are refused. `backend_permits` bounds the runs of the backend on the device; of
    /// more than there are cores, the rest is only used by batches. With
    /// `batches`, runs are combined into batches; this needs a tokio runtime.
    ///
    /// # Errors
    /// If batches are requested, and runs of the model cannot be batched.
    pub fn new(
        name: String,
        digest: String,
        bytes: &[u8],
        model: Box<dyn Model>,
        backend_permits: Arc<Semaphore>,
        batches: Option<Batches>,
        scheduling: Scheduling,
    ) -> Result<Self, LoadError> {
        let size_limit = SizeLimit::new(bytes, &*model).map(Arc::new);
        let health = Arc::new(Health::default());
        let inputs = model.inputs().to_vec();
        // Made when a trial needs it, because an input may be large.
        let trial = batch::can_run_singly(&inputs).then(|| Box::new(move || batch::single_run(&inputs)) as Trial);
        let model = MonitoredModel::new(name.clone(), model, Arc::clone(&health), trial);
        let model: Arc<dyn Model> = Arc::new(model);
        let model_permits = Arc::new(Semaphore::new(model.properties().concurrent_runs.min(Semaphore::MAX_PERMITS)));
        let batch_rules = batches.as_ref().map(|batches| batches.rules);
        let (unbatched, batcher) = match batches {
            None => {
                batch::prepare_single(&*model);
                (Arc::clone(&model), None)
            }
            Some(batches) => {
                let admitted = batches.admit(&model, size_limit.as_deref())?;
                let unbatched = admitted.model();
                let (model_permits, backend_permits) = (Arc::clone(&model_permits), Arc::clone(&backend_permits));
                let acquire = move || acquire_both(Arc::clone(&model_permits), Arc::clone(&backend_permits));
                (unbatched, Some(Batcher::start(admitted, batches.rules, batches.observer, acquire)))
            }
        };
        let queue = Arc::new(RunQueue::new(Arc::clone(&model_permits), backend_permits));
        let short_runs = ShortRunDetector::new(scheduling);
        let differences = model.properties().differences.clone();
        Ok(Self {
            name,
            digest,
            model,
            unbatched,
            batcher,
            batch_rules,
            model_permits,
            queue,
            short_runs,
            size_limit,
            health,
            memory: None,
            agreement: None,
            differences,
            runs_on: (String::new(), Device::Cpu.to_string()),
        })
    }

    /// Sets the names of the backend and the device, for messages and reports, and logs how the device is used.
    #[must_use]
    pub fn on(mut self, backend: &str, device: &Device) -> Self {
        self.runs_on = (backend.to_owned(), device.to_string());
        log_placement(&self.name, &self.runs_on.1, self.placement());
        for difference in self.differences() {
            tracing::warn!("model {}, target {}: {difference}", self.name, self.runs_on.1);
        }
        if self.bound_to().is_some() || !self.model.properties().is_in_host_memory {
            log_binding(&self.name, &self.runs_on.1, self.bound_to());
        }
        self
    }

    /// Sets what was measured while the model was loaded.
    #[must_use]
    pub fn with_memory(mut self, figures: LoadFigures) -> Self {
        let model = &self.model;
        let meter =
            MemoryMeter::new(figures, model.arenas(), model.properties().is_in_host_memory, model.properties().copies);
        self.memory = Some(meter);
        self
    }

    /// Sets when the model is taken out of service because its device fails, and the observer.
    #[must_use]
    pub fn with_health(self, rules: HealthRules, observer: Arc<dyn HealthObserver>) -> Self {
        self.health.configure(rules, observer);
        if self.input_with_new_shapes().is_none() {
            self.health.forget_first_runs(self.batch_rules.map_or(1, |rules| rules.max_batch));
        }
        self
    }

    /// Checks inputs against the model's signature.
    ///
    /// # Errors
    /// The model, the input, and what was expected and given.
    pub fn check(&self, inputs: &[(String, Tensor)]) -> Result<(), InputError> {
        self.in_model_order(inputs.to_vec()).map(|_| ())
    }

    /// Checks the inputs by name, type and shape, then runs the model: in a batch, or alone. A run alone uses a thread for
    /// blocking work, unless it is expected to be short.
    ///
    /// # Errors
    /// `InvalidArgument` names the model, the input, and what was expected and given.
    pub async fn run(self: Arc<Self>, inputs: Tensors) -> Result<Tensors, NnError> {
        self.run_with(inputs, Priority::Normal, None).await
    }

    /// As [`LoadedModel::run`]. A run in the background never joins a batch, and computes on a thread of its own. `meter`
    /// learns how long the run waited for a batch.
    ///
    /// # Errors
    /// As [`LoadedModel::run`].
    pub async fn run_with(
        self: Arc<Self>,
        inputs: Tensors,
        priority: Priority,
        meter: Option<&Meter>,
    ) -> Result<Tensors, NnError> {
        let ordered = self
            .in_model_order(inputs)
            .map_err(|error| NnError { kind: NnErrorKind::InvalidArgument, message: error.to_string() })?;
        let name = &self.name;
        let failed = |error: RunError| NnError { kind: error.kind(), message: format!("model `{name}`: {error}") };
        if let Some(refusal) = self.health.refusal() {
            return Err(failed(refusal));
        }
        if let Some(limit) = &self.size_limit {
            limit.check(&ordered).await.map_err(failed)?;
        }
        if let Priority::Background(run) = priority {
            let model = if self.fits_full_batch(&ordered).await { &self.unbatched } else { &self.model };
            return self.run_in_background(model, ordered, run).await.map_err(failed);
        }
        if let Some(batcher) = &self.batcher
            && self.fits_full_batch(&ordered).await
        {
            return batcher.run(ordered, meter).await.map_err(failed);
        }
        // A run on a device that hangs would keep a thread of the runtime.
        let is_short = !self.model.properties().time_depends_on_values
            && self.health.hang_after().is_none()
            && self.short_runs.expects_short(self.short_runs.shapes(&ordered));
        let this = Arc::clone(&self);
        let cancellation = Arc::new(Cancellation::default());
        // If the caller is gone, this future is dropped; the run then ends as soon as the library can stop it.
        let _end = CancelOnDrop(Arc::clone(&cancellation));
        let run = move || this.run_and_record(&ordered, &cancellation);
        let result = if is_short {
            // It does not wait for the long runs of other models.
            let _permit = acquire(Arc::clone(&self.model_permits)).await;
            catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(RunError::Panicked))
        } else {
            self.queue.run(run).await
        };
        result.map_err(failed)
    }

    /// Runs the model once with zeros, for the end that it may have. An error says nothing: the model may not accept them, and where
    /// its inputs have other dynamic dimensions than rows, it is not run.
    pub fn try_run(&self) {
        let Some(inputs) = batch::single_run(self.model.inputs()) else { return };
        if self.size_limit.as_ref().is_none_or(|limit| limit.check_here(&inputs).is_ok()) {
            let _ = self.model.run(&inputs);
        }
    }

    /// Returns true if the values of a full batch of such runs are not too large. Otherwise a run is made alone.
    async fn fits_full_batch(&self, inputs: &[Tensor]) -> bool {
        let (Some(limit), Some(rules)) = (&self.size_limit, self.batch_rules) else { return true };
        limit.check_batch(inputs, rules.max_batch).await.is_ok()
    }

    /// Runs the model and records how long it took.
    fn run_and_record(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        let (clock, cpu_time) = (Instant::now(), thread_cpu_time());
        let result = self.model.run_unless_cancelled(inputs, cancellation);
        // Measured by wall-clock time, no run would be short while other threads use the core.
        let time = match self.model.properties().runs_on_calling_thread {
            true => thread_cpu_time().saturating_sub(cpu_time),
            false => clock.elapsed(),
        };
        self.short_runs.record(self.short_runs.shapes(inputs), time);
        result
    }

    fn in_model_order(&self, mut given: Tensors) -> Result<Vec<Tensor>, InputError> {
        let model = || self.name.clone();
        let expected = self.model.inputs();
        let known = || expected.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join("`, `");
        if let Some((name, _)) = given.iter().find(|(name, _)| expected.iter().all(|input| input.name != *name)) {
            return Err(InputError::Unknown { model: model(), input: shortened(name), known: known() });
        }
        expected
            .iter()
            .enumerate()
            .map(|(index, input)| {
                let name = || input.name.clone();
                let position = given
                    .iter()
                    .position(|(name, _)| *name == input.name)
                    .ok_or_else(|| InputError::Missing { model: model(), input: name(), known: known() })?;
                let (_, tensor) = given.swap_remove(position);
                let misfit = |misfit| InputError::Misfit { model: model(), input: name(), misfit };
                let tensor = input.accept(tensor).map_err(misfit)?;
                self.model.check_numbers(index, &tensor).map_err(misfit)?;
                self.check_finite(&tensor).map_err(misfit)?;
                Ok(tensor)
            })
            .collect()
    }
}

/// Cancels a run if nothing waits for it any more.
struct CancelOnDrop(Arc<Cancellation>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn acquire_both(model_permits: Arc<Semaphore>, backend_permits: Arc<Semaphore>) -> HeldPermits {
    let model = acquire(model_permits).await;
    let backend = acquire(backend_permits).await;
    Box::new((model, backend))
}

#[cfg(test)]
mod tests;
