//! The errors of models: why one cannot be loaded, why a run failed, and how inputs do not fit.

use std::time::Duration;

use crate::tensor::{OutOfRange, SizeMismatch, TensorType};

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
    /// The run has not ended in time, so the device is taken to hang.
    #[error(
        "the run has not ended after {bound:?}, so its device hangs; it holds one of {sessions} sessions until it ends"
    )]
    Hung {
        /// How long it was waited for.
        bound: Duration,
        /// The sessions of the model.
        sessions: usize,
    },
    /// The device failed before, and is not used until a trial succeeds.
    #[error("the device is out of service after failures, and is tried again every {retry:?}; the last one: {last}")]
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
            Self::Device(_) | Self::OutOfMemory(_) | Self::Hung { .. } | Self::OutOfService { .. } => {
                NnErrorKind::DeviceFailure
            }
            Self::Cancelled | Self::Panicked | Self::OutputType(_) | Self::BatchOutput { .. } | Self::Ended => {
                NnErrorKind::RuntimeError
            }
        }
    }

    /// Returns true if the model does not accept these inputs, which says nothing about its device.
    pub(super) fn is_of_inputs(&self) -> bool {
        self.kind() == NnErrorKind::InvalidArgument
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
    /// A number that the model's own type does not have.
    #[error(transparent)]
    Range(#[from] OutOfRange),
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
