//! One run of a stage: a fresh store, instantiate, call, drop.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;

use super::bindings::{Failure, Request};
use super::call::CallResult;
use super::code::Code;
use super::core::StageCore;
use super::error::{OutputLimit, StageError};
use super::limits::MAX_RESOURCES;
use super::observer::{RunGuard, RunObserver};
use super::odd_tensor::OddTensor;
use super::store::StoreState;
use crate::cap::{Meter, Usage};
use crate::nn::NnErrorKind;

impl StageCore {
    /// The part that all runs share: the store, the deadlines, and the report of how the run ended. `body` is the size of
    /// the input in bytes, if that decides how long the run computes.
    pub(super) async fn run<R>(
        &self,
        observer: &mut dyn RunObserver,
        request: &Request,
        body: Option<usize>,
        call: impl AsyncFnOnce(&Code, &mut Store<StoreState>) -> CallResult<R>,
    ) -> Result<R, StageError> {
        let meter = Arc::new(Meter::default());
        let started = Instant::now();
        let deadline = observer.deadline().min(started + self.limits.deadline);
        let priority = observer.priority();
        let memory = observer.memory().cloned();
        let is_muted = !observer.logs_output(self);
        // Reports on every path. If it is dropped before `finish`, the caller has disconnected.
        let guard = RunGuard::new(observer, self, Arc::clone(&meter), started);

        if started >= deadline {
            let error = StageError::deadline();
            guard.finish(Some(&error));
            return Err(error);
        }
        let parts = self.run_parts();
        let code = &parts.code;
        let mut store = self.store_with(&parts, meter, &request.id, deadline);
        if let Some(memory) = memory {
            store.data_mut().count_in(memory);
        }
        if is_muted {
            store.data().mute();
        }
        let schedule = Arc::clone(&store.data().schedule);
        schedule.set_priority(priority);
        let call = async {
            if body.is_some_and(|body| self.run_lengths.predicts_long(body)) {
                schedule.acquire_permit().await;
            }
            schedule.run_guest(call(code, &mut store)).await
        };
        let answer = match tokio::time::timeout_at(deadline.into(), call).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(failure))) => Err(failure_error(failure, &store)),
            Ok(Err(error)) => Err(StageError::from_wasmtime(&error)),
            Err(_elapsed) => Err(StageError::deadline()),
        };
        if let (Some(body), Ok(_)) = (body, &answer) {
            self.run_lengths.record(body, schedule.computed_ticks());
        }
        let resources = store.data_mut().table.iter_mut().count() as u64;
        store.data().meter.record_resources(resources);
        code.count_memory(store.data().meter.usage().high_water);
        // This instance is dropped before the next stage's is created.
        drop(store);
        guard.finish(answer.as_ref().err());
        answer
    }

    /// Instantiates and drops, without a call. Returns the memory that an instance alone holds.
    ///
    /// # Errors
    /// Why the instance could not be created.
    pub async fn instantiate_only(&self) -> Result<Usage, StageError> {
        let meter = Arc::new(Meter::default());
        let parts = self.run_parts();
        let mut store = self.store_with(&parts, Arc::clone(&meter), "", Instant::now() + self.limits.deadline);
        self.instantiate(&parts.code, &mut store).await.map_err(|error| StageError::from_wasmtime(&error))?;
        drop(store);
        Ok(meter.usage())
    }

    /// Checks the bytes of a context that the host makes against `max_output`.
    ///
    /// # Errors
    /// If it is too long.
    pub(crate) fn check_context(&self, bytes: usize) -> Result<(), StageError> {
        self.check_output(bytes).map_err(|error| StageError::from_wasmtime(&error))
    }

    /// Checks the number of tensors that a step gathers, before they are gathered.
    ///
    /// # Errors
    /// If an instance cannot hold so many.
    pub(crate) fn check_gathered(&self, tensors: usize) -> Result<(), StageError> {
        match tensors > MAX_RESOURCES {
            true => Err(StageError::from_wasmtime(&OddTensor::Gathered(tensors).into())),
            false => Ok(()),
        }
    }

    /// Checks the bytes of a reply or context against `max_output`.
    pub(super) fn check_output(&self, given: usize) -> wasmtime::Result<()> {
        let (given, limit) = (given as u64, self.limits.max_output);
        if given > limit { Err(OutputLimit { given, limit }.into()) } else { Ok(()) }
    }
}

/// If a plugin only passes on what `wasi:nn` reported about its tensors or the device, the error is the host's.
fn failure_error(failure: Failure, store: &Store<StoreState>) -> StageError {
    match (&failure, &store.data().last_nn_error) {
        (Failure::Internal(_), Some(error)) if error.kind == NnErrorKind::InvalidArgument => {
            StageError::tensor_mismatch(error.message.clone())
        }
        (Failure::Internal(_), Some(error)) if error.kind == NnErrorKind::DeviceFailure => {
            StageError::device_failure(error.message.clone())
        }
        _ => StageError::from_failure(failure),
    }
}
