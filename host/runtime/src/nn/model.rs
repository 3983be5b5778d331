//! The interface between stages and the libraries that run models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cancellation::Cancellation;
use super::chip::{Chip, DeviceDescription, Placement};
use super::device::Device;
use super::error::{LoadError, Misfit, RunError, SettingsError};
use super::host_buffers::HostBuffer;
use super::memory::ArenaSizes;
use crate::tensor::{Tensor, TensorType, Tensors};

/// A library that runs models.
pub trait Backend: Send + Sync {
    /// Prepares a model to run.
    ///
    /// # Errors
    /// What is wrong with the file or with the library, and how to fix it.
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError>;
    /// Prepares a model whose outputs those of other devices are compared with: as the file says, without optimisations.
    ///
    /// # Errors
    /// As [`Backend::load`].
    fn load_reference(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        self.load(source)
    }
    /// What the library is: its name and version.
    fn description(&self) -> String;
    /// The devices that models can run on, without those of further libraries.
    fn devices(&self) -> Vec<DeviceDescription>;
    /// The devices that a chip selects.
    ///
    /// # Errors
    /// Why the chip cannot be used, and how to fix it.
    fn devices_of(&self, chip: &Chip) -> Result<Vec<DeviceDescription>, LoadError> {
        Err(LoadError(format!("the provider `{}` needs the backend `onnxruntime`", chip.provider)))
    }
}

/// A backend in the list ([`super::backends`]).
pub struct BackendEntry {
    /// The name in the configuration.
    pub name: &'static str,
    /// Checks the settings.
    pub check: fn(&BackendSettings) -> Result<(), SettingsError>,
    /// Opens the backend.
    pub open: OpenBackend,
}

/// The settings of a backend, as the table `[backends.NAME]` has them; null if there is no table.
pub type BackendSettings = serde_json::Value;

/// Opens a backend with its settings. Relative paths in them start at the given folder.
pub type OpenBackend = fn(&BackendSettings, &Path) -> Result<Box<dyn Backend>, LoadError>;

/// A model that is ready to run, shared by all requests.
pub trait Model: Send + Sync {
    /// The properties of the model, which do not change. A model that wraps another one returns those of that one.
    fn properties(&self) -> &ModelProperties;
    /// The inputs of a run, from the properties.
    fn inputs(&self) -> &[Signature] {
        &self.properties().inputs
    }
    /// The outputs of a run, from the properties.
    fn outputs(&self) -> &[Signature] {
        &self.properties().outputs
    }
    /// Checks the numbers of an input before a run; `index` is its place in [`Model::inputs`].
    ///
    /// # Errors
    /// If the library computes wrongly with one of the numbers.
    fn check_numbers(&self, index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        let _ = (index, tensor);
        Ok(())
    }
    /// Runs the model; blocks the thread. `inputs` are in the order of [`Model::inputs`] and fit it.
    /// Returns the outputs by name, in the model's order.
    ///
    /// # Errors
    /// If the library fails, or a tensor has a type that the backend does not support.
    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError>;
    /// As [`Model::run`], but ends early with [`RunError::Cancelled`] after `cancellation` was cancelled, if the library can
    /// do that.
    ///
    /// # Errors
    /// As [`Model::run`].
    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        if cancellation.is_cancelled() { Err(RunError::Cancelled) } else { self.run(inputs) }
    }
    /// Prepares everything that runs use for the shapes of these inputs, by a run.
    ///
    /// # Errors
    /// As [`Model::run`].
    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.run(inputs).map(drop)
    }
    /// What the library's allocators have taken for this model. A model that wraps another one returns that one's.
    fn arenas(&self) -> ArenaSizes {
        ArenaSizes::default()
    }
    /// Reserves buffers for the inputs of batches, where the device copies faster from special memory. `sizes` are the bytes
    /// of each input of the largest batch. Called once, at admission.
    fn reserve_buffers(&self, sizes: &[usize]) {
        let _ = sizes;
    }
    /// A reserved buffer with room for `bytes`. `None` if ordinary memory is as good, or if all are in use. Never waits.
    fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        let _ = bytes;
        None
    }
}

/// The properties of a loaded model. They do not change.
#[derive(Debug, Clone)]
pub struct ModelProperties {
    /// The inputs of a run.
    pub inputs: Vec<Signature>,
    /// The outputs of a run.
    pub outputs: Vec<Signature>,
    /// Maximum number of concurrent runs; further runs wait without a thread.
    pub concurrent_runs: usize,
    /// True if a run is computed completely by the calling thread, so that the thread's CPU time is the run's.
    pub runs_on_calling_thread: bool,
    /// True if concurrent runs compute at the same time. Otherwise the device computes one after another, and a run that
    /// is sent while another one computes only waits there.
    pub overlaps_runs: bool,
    /// True if the first run with a new shape of the inputs is much slower than the next ones, because the device
    /// prepares itself for the shape.
    pub pays_for_new_shapes: bool,
    /// True if a request can make a run longer without larger inputs, for example by the number of rounds of a loop.
    pub time_depends_on_values: bool,
    /// Which execution providers compute how many nodes; empty if one library computes all of them on the CPU.
    pub placement: Vec<Placement>,
    /// True if the device has no memory of its own, so that the model's memory is the process's.
    pub is_in_host_memory: bool,
    /// How many copies of the weights the device holds.
    pub copies: usize,
    /// The library's name of the memory to which the inputs and outputs of runs are bound; `None` if the library copies them
    /// from and to ordinary memory.
    pub bound_to: Option<String>,
    /// What the device may compute differently from ONNX, one sentence for each kind with a node.
    pub differences: Vec<String>,
}

impl ModelProperties {
    /// The properties of a model that a library runs on the CPU, in threads of its own.
    pub fn on_cpu(inputs: Vec<Signature>, outputs: Vec<Signature>, concurrent_runs: usize) -> Self {
        Self {
            inputs,
            outputs,
            concurrent_runs,
            runs_on_calling_thread: false,
            overlaps_runs: true,
            pays_for_new_shapes: false,
            time_depends_on_values: false,
            placement: Vec::new(),
            is_in_host_memory: true,
            copies: 1,
            bound_to: None,
            differences: Vec::new(),
        }
    }
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The name in the configuration.
    pub name: String,
    /// The path, for messages.
    pub path: PathBuf,
    /// The file's bytes.
    pub bytes: Arc<Vec<u8>>,
    /// The files next to the model that contain weights: their paths as the model names them, and their bytes. Backends
    /// read no other files.
    pub external: Vec<(String, Arc<Vec<u8>>)>,
    /// The device to run on.
    pub device: Device,
    /// Options for the part of the library that runs on the device (ONNX Runtime: the execution provider).
    pub options: BTreeMap<String, String>,
}

/// Name, type and shape of an input or output.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The name.
    pub name: String,
    /// The accepted element types; the first is the model's own. Empty if not known.
    pub types: Vec<TensorType>,
    /// The sizes of the dimensions, `None` for a dynamic one; `None` as a whole if the rank is dynamic.
    pub shape: Option<Vec<Option<u32>>>,
}

impl Signature {
    /// Checks a tensor against this signature, and returns it in a type that the model takes. Guests see some types as a
    /// wider one ([`TensorType::in_wasi_nn`]), so a tensor of the wider type is accepted for the narrower one and the
    /// other way round, if no number changes.
    pub(super) fn accept(&self, tensor: Tensor) -> Result<Tensor, Misfit> {
        tensor.check_size()?;
        let ty = self.accepted_type(tensor.ty)?;
        self.check_shape(&tensor.dimensions)?;
        match tensor.converted(ty).filter(|_| ty != tensor.ty) {
            Some(converted) => Ok(converted?),
            None => Ok(tensor),
        }
    }

    /// The type in which the model takes a tensor of the given type.
    fn accepted_type(&self, given: TensorType) -> Result<TensorType, Misfit> {
        let Some(&expected) = self.types.first().filter(|_| !self.types.contains(&given)) else { return Ok(given) };
        let wider = Some(given.in_wasi_nn()).filter(|wider| self.types.contains(wider));
        let narrower = || self.types.iter().copied().find(|ty| ty.in_wasi_nn() == given);
        wider.or_else(narrower).ok_or(Misfit::Type { expected, given })
    }

    fn check_shape(&self, given: &[u32]) -> Result<(), Misfit> {
        let Some(shape) = &self.shape else { return Ok(()) };
        let fits = shape.len() == given.len()
            && shape.iter().zip(given).all(|(expected, given)| expected.is_none_or(|size| size == *given));
        if fits {
            return Ok(());
        }
        let expected: Vec<_> =
            shape.iter().map(|size| size.map_or("any".to_owned(), |size| size.to_string())).collect();
        Err(Misfit::Shape { expected: expected.join(", "), given: given.to_vec() })
    }
}
