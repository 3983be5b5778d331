//! A model that is loaded, and its runs.

use std::sync::{Arc, Mutex, PoisonError};

use ort::session::RunOptions;

use super::bound_memory::BoundMemory;
use super::c_api::arena::arenas;
use super::c_api::shared_session::SharedSession;
use super::failures::run_error;
use super::openvino;
use super::values::{check_strings, output, value};
use crate::nn::cancellation::Cancellation;
use crate::nn::device::Device;
use crate::nn::error::{Misfit, RunError};
use crate::nn::host_buffers::HostBuffer;
use crate::nn::memory::ArenaSizes;
use crate::nn::model::{Model, ModelProperties};
use crate::tensor::{Tensor, TensorType, Tensors};

/// A model in its sessions.
pub(super) struct Loaded {
    /// One that all runs share, or one for each concurrent run.
    pub(super) sessions: Vec<Arc<SharedSession>>,
    /// The places in `sessions` for the next runs. A session that is shared is there several times.
    pub(super) idle: Mutex<Vec<usize>>,
    /// The memory to which runs are bound; `None` if they are not.
    pub(super) bound: Option<BoundMemory>,
    pub(super) name: String,
    /// True if the provider is OpenVINO.
    pub(super) is_openvino: bool,
    pub(super) device: Device,
    pub(super) properties: ModelProperties,
}

impl Model for Loaded {
    fn properties(&self) -> &ModelProperties {
        &self.properties
    }

    fn check_numbers(&self, _index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        match tensor.ty {
            TensorType::Bytes => check_strings(tensor),
            _ if self.is_openvino => openvino::check_numbers(tensor),
            _ => Ok(()),
        }
    }

    /// Each session has its own algorithms, so each is run.
    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.sessions.iter().try_for_each(|session| self.run_in(session, inputs, &Cancellation::default()).map(drop))
    }

    fn arenas(&self) -> ArenaSizes {
        let cuda = match &self.device {
            Device::Cpu => None,
            Device::Cuda(number) => Some(*number),
            Device::Chip(chip) if chip.provider == "cuda" && chip.library.is_none() => {
                Some(chip.device.as_deref().and_then(|device| device.parse().ok()).unwrap_or(0))
            }
            Device::Chip(_) => None,
        };
        let sum = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).reduce(u64::saturating_add);
        self.sessions.iter().map(|session| arenas(session.session(), cuda)).fold(ArenaSizes::default(), |all, one| {
            ArenaSizes { host: sum(all.host, one.host), device: sum(all.device, one.device) }
        })
    }

    fn reserve_buffers(&self, sizes: &[usize]) {
        if let Some(bound) = &self.bound {
            bound.reserve(&self.name, sizes);
        }
    }

    fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        self.bound.as_ref()?.buffer(bytes)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_unless_cancelled(inputs, &Cancellation::default())
    }

    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        let place = self.take_place();
        let more =
            || RunError::backend("there are more runs than sessions, which is a fault of Plimsoll; please report it");
        let session = place.place.and_then(|place| self.sessions.get(place)).ok_or_else(more)?;
        self.run_in(session, inputs, cancellation)
    }
}

impl Loaded {
    fn take_place(&self) -> Place<'_> {
        let place = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Place { idle: &self.idle, place }
    }

    fn run_in(
        &self,
        session: &SharedSession,
        inputs: &[Tensor],
        cancellation: &Cancellation,
    ) -> Result<Tensors, RunError> {
        let values = inputs.iter().map(value).collect::<Result<Vec<_>, RunError>>()?;
        let options = Arc::new(RunOptions::new().map_err(|error| RunError::Device(error.to_string()))?);
        let flag = Arc::clone(&options);
        let stop = move || {
            if let Err(error) = flag.terminate() {
                tracing::error!("a run of onnxruntime cannot be stopped: {error}");
            }
        };
        let rows = inputs.first().and_then(|input| input.dimensions.first()).copied().unwrap_or(1);
        let mut bound = self.bound.as_ref().and_then(|bound| bound.places(&self.name, rows));
        let run = || match &bound {
            Some(bound) => session.run_bound(&values, &bound.places, &options),
            None => session.run(&values, &options),
        };
        let result = cancellation.during(stop, run);
        let outputs = result.map_err(|error| match run_error(&self.device, error.code(), error.message()) {
            // A device may fail after so long that no caller waits any more, and must be taken out of service nevertheless.
            error @ (RunError::Device(_) | RunError::OutOfMemory(_)) => error,
            _ if cancellation.is_cancelled() => RunError::Cancelled,
            error => error,
        })?;
        let named = self.outputs().iter().zip(outputs.values());
        let copies =
            named.map(|(signature, value)| Ok((signature.name.clone(), output(value)?))).collect::<Result<_, _>>()?;
        if let Some(bound) = &mut bound {
            bound.correct(&copies);
        }
        Ok(copies)
    }
}

/// A session in use. Its place is returned when the run ends, also after a panic, which leaves the session usable.
struct Place<'a> {
    idle: &'a Mutex<Vec<usize>>,
    place: Option<usize>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.place.take());
    }
}
