//! The interface between stages and the libraries that run models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cancellation::Cancellation;
use super::device::Device;
use crate::tensor::{SizeMismatch, Tensor, TensorType, Tensors};

/// A library that runs models.
pub trait Backend: Send + Sync {
    /// Prepares a model to run.
    ///
    /// # Errors
    /// What is wrong with the file or with the library, and how to fix it.
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError>;
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
    /// The inputs of a run.
    fn inputs(&self) -> &[Signature];
    /// The outputs of a run.
    fn outputs(&self) -> &[Signature];
    /// Maximum number of concurrent runs; further runs wait without a thread.
    fn concurrent_runs(&self) -> usize;
    /// Returns true if a run is computed completely by the calling thread, so that the thread's CPU time is the run's.
    fn runs_on_calling_thread(&self) -> bool {
        false
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
    /// Returns true if the first run with a new shape of the inputs is much slower than the next ones, because the device
    /// prepares itself for the shape.
    fn pays_for_new_shapes(&self) -> bool {
        false
    }
    /// Prepares everything that runs use for the shapes of these inputs, by a run.
    ///
    /// # Errors
    /// As [`Model::run`].
    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.run(inputs).map(drop)
    }
    /// Returns true if a request can make a run longer without larger inputs, for example by the number of rounds of a
    /// loop.
    fn time_depends_on_values(&self) -> bool {
        false
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

/// A model that cannot be loaded. The text names the file or the library, and says how to fix it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// Settings that a backend does not accept. The text names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// A run of a model that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The library cannot compute these inputs; its own message.
    #[error("{0}")]
    Backend(String),
    /// The device failed; the library's own message.
    #[error("{0}")]
    Device(String),
    /// The memory of the device is too small for the run; the library's own message.
    #[error("{0}")]
    OutOfMemory(String),
    /// The device failed several runs before, and is not used until a trial succeeds.
    #[error(
        "the device is out of service after several failures, and is tried again every {retry:?}; the last one: {last}"
    )]
    OutOfService {
        /// The error of the last run.
        last: String,
        /// The time between two trials.
        retry: Duration,
    },
    /// The caller is gone.
    #[error("the run was stopped because its caller is gone")]
    Cancelled,
    /// The library panicked.
    #[error("the backend panicked")]
    Panicked,
    /// The backend cannot take an input of this type.
    #[error("the backend does not support tensors of {0}")]
    InputType(TensorType),
    /// The backend computes an input in a smaller type, and a number is too large for it.
    #[error("the backend computes i64 as i32; {0} is too large")]
    Narrowed(i64),
    /// A number that follows from the inputs is too large for the backend.
    #[error("{0}")]
    TooLarge(String),
    /// The model has an output that `wasi:nn` cannot express; the text names its type.
    #[error("an output is {0}, which is not supported")]
    OutputType(String),
    /// The inputs cannot be part of a batch.
    #[error("the inputs have the batch sizes {0:?}: all inputs need the same one, at least 1")]
    Rows(Vec<u32>),
    /// The outputs of a batch cannot be divided among its runs.
    #[error("output `{name}` has shape {dimensions:?} for a batch of {rows} rows")]
    BatchOutput {
        /// The name of the output.
        name: String,
        /// Its shape.
        dimensions: Vec<u32>,
        /// The number of rows of the batch.
        rows: u32,
    },
    /// The thread or task that made the run has ended.
    #[error("the run ended without an answer")]
    Ended,
}

impl RunError {
    /// The kind of error for the guest. On the CPU, whether a run fails depends on its inputs only.
    pub(super) fn kind(&self) -> NnErrorKind {
        match self {
            Self::Backend(_) | Self::InputType(_) | Self::Narrowed(_) | Self::Rows(_) | Self::TooLarge(_) => {
                NnErrorKind::InvalidArgument
            }
            Self::Device(_) | Self::OutOfMemory(_) | Self::OutOfService { .. } => NnErrorKind::DeviceFailure,
            Self::Cancelled | Self::Panicked | Self::OutputType(_) | Self::BatchOutput { .. } | Self::Ended => {
                NnErrorKind::RuntimeError
            }
        }
    }

    /// An error of the library about the inputs.
    pub fn backend(error: impl std::fmt::Display) -> Self {
        Self::Backend(error.to_string())
    }
}

/// A tensor that does not fit a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The bytes do not fit the shape.
    #[error(transparent)]
    Size(#[from] SizeMismatch),
    /// The wrong element type.
    #[error("{expected} is expected, {given} was given")]
    Type {
        /// The model's own type.
        expected: TensorType,
        /// The tensor's type.
        given: TensorType,
    },
    /// The wrong shape.
    #[error("shape [{expected}] is expected, {given:?} was given")]
    Shape {
        /// The sizes of the dimensions; `any` for a dynamic one.
        expected: String,
        /// The tensor's shape.
        given: Vec<u32>,
    },
    /// A number with which the backend computes wrongly.
    #[error("{0}")]
    Number(String),
}

/// Inputs that do not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The model has no such input.
    #[error("model `{model}` has no input `{input}`; it takes `{known}`")]
    Unknown {
        /// The model's name.
        model: String,
        /// The name that was given.
        input: String,
        /// The names of its inputs.
        known: String,
    },
    /// An input was not given.
    #[error("model `{model}`: input `{input}` is missing; it takes `{known}`")]
    Missing {
        /// The model's name.
        model: String,
        /// The input's name.
        input: String,
        /// The names of its inputs.
        known: String,
    },
    /// An input does not fit.
    #[error("model `{model}`, input `{input}`: {misfit}")]
    Misfit {
        /// The model's name.
        model: String,
        /// The input's name.
        input: String,
        /// How it differs.
        misfit: Misfit,
    },
}

/// The kind of an [`NnError`]: the error codes of `wasi:nn` that the host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NnErrorKind {
    /// A tensor does not fit the model.
    InvalidArgument,
    /// The backend failed.
    RuntimeError,
    /// The device that the model runs on failed, or is out of service.
    DeviceFailure,
    /// The host does not support the operation.
    UnsupportedOperation,
    /// There is no such model.
    NotFound,
}

/// The error of a `wasi:nn` call.
#[derive(Debug, Clone)]
pub struct NnError {
    /// The kind of error.
    pub kind: NnErrorKind,
    /// The message.
    pub message: String,
}

impl Signature {
    /// Checks a tensor against this signature.
    pub(super) fn check(&self, tensor: &Tensor) -> Result<(), Misfit> {
        tensor.check_size()?;
        if let Some(&expected) = self.types.first()
            && !self.types.contains(&tensor.ty)
        {
            return Err(Misfit::Type { expected, given: tensor.ty });
        }
        let Some(shape) = &self.shape else { return Ok(()) };
        let fits = shape.len() == tensor.dimensions.len()
            && shape.iter().zip(&tensor.dimensions).all(|(expected, given)| expected.is_none_or(|size| size == *given));
        if fits {
            return Ok(());
        }
        let expected: Vec<_> =
            shape.iter().map(|size| size.map_or("any".to_owned(), |size| size.to_string())).collect();
        Err(Misfit::Shape { expected: expected.join(", "), given: tensor.dimensions.clone() })
    }
}
