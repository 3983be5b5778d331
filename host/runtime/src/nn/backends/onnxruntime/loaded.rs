//! A model that is loaded, and its runs, each in a session of its own.

use std::sync::{Arc, Mutex, PoisonError};

use ort::session::{RunOptions, Session};

use super::failures::run_error;
use super::values::{output, value};
use crate::nn::cancellation::Cancellation;
use crate::nn::device::Device;
use crate::nn::error::RunError;
use crate::nn::model::{Model, ModelProperties};
use crate::tensor::{Tensor, Tensors};

/// A model in its sessions.
pub(super) struct Loaded {
    // `Session::run` takes `&mut self` in this version of the crate, so each run needs its own session. There are as many
    // sessions as concurrent runs.
    pub(super) idle: Mutex<Vec<Session>>,
    pub(super) device: Device,
    pub(super) properties: ModelProperties,
}

impl Model for Loaded {
    fn properties(&self) -> &ModelProperties {
        &self.properties
    }

    /// Each session has its own algorithms, so each is run.
    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        // The sessions are idle again when this list is dropped.
        let mut taken: Vec<_> = (0..self.properties.concurrent_runs).map(|_| self.take_session()).collect();
        taken.iter_mut().try_for_each(|session| self.run_in(session, inputs, &Cancellation::default()).map(drop))
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_unless_cancelled(inputs, &Cancellation::default())
    }

    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        self.run_in(&mut self.take_session(), inputs, cancellation)
    }
}

impl Loaded {
    fn take_session(&self) -> Taken<'_> {
        let session = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Taken { idle: &self.idle, session }
    }

    fn run_in(
        &self,
        session: &mut Taken<'_>,
        inputs: &[Tensor],
        cancellation: &Cancellation,
    ) -> Result<Tensors, RunError> {
        let values = self
            .inputs()
            .iter()
            .zip(inputs)
            .map(|(input, tensor)| Ok((input.name.as_str(), value(tensor)?)))
            .collect::<Result<Vec<_>, RunError>>()?;
        let more =
            || RunError::backend("there are more runs than sessions, which is a fault of Plimsoll; please report it");
        let session = session.session.as_mut().ok_or_else(more)?;
        let options = Arc::new(RunOptions::new().map_err(|error| RunError::Device(error.to_string()))?);
        let flag = Arc::clone(&options);
        let stop = move || {
            if let Err(error) = flag.terminate() {
                tracing::error!("a run of onnxruntime cannot be stopped: {error}");
            }
        };
        let result = cancellation.during(stop, || session.run_with_options(values, &*options));
        let outputs = result.map_err(|error| match cancellation.is_cancelled() {
            true => RunError::Cancelled,
            false => run_error(&self.device, error.code(), error.message()),
        })?;
        outputs.iter().map(|(name, value)| Ok((name.to_owned(), output(&value)?))).collect()
    }
}

/// A session in use. It is returned when its run ends, also after a panic, which leaves the session usable.
struct Taken<'a> {
    idle: &'a Mutex<Vec<Session>>,
    session: Option<Session>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.session.take());
    }
}
