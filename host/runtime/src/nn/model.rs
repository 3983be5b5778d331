//! The interface between stages and the libraries that run models.

use std::path::PathBuf;
use std::sync::Arc;

use super::device::Device;
use crate::tensor::{Tensor, TensorType, Tensors};

/// A library that runs models.
pub trait Backend: Send + Sync {
    /// Prepares a model to run.
    ///
    /// # Errors
    /// What is wrong with the file or with the library, and how to fix it.
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError>;
}

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
    /// Runs the model; blocks the thread. `inputs` are in the order of [`Model::inputs`] and fit it.
    /// Returns the outputs by name, in the model's order.
    ///
    /// # Errors
    /// The library's own message.
    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, String>;
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
    /// The device to run on.
    pub device: Device,
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

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// The kind of an [`NnError`]: the error codes of `wasi:nn` that the host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NnErrorKind {
    /// A tensor does not fit the model.
    InvalidArgument,
    /// The backend failed.
    RuntimeError,
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
    pub(super) fn check(&self, tensor: &Tensor) -> Result<(), String> {
        tensor.check_size()?;
        if !self.types.is_empty() && !self.types.contains(&tensor.ty) {
            return Err(format!("{} is expected, {} was given", self.types[0], tensor.ty));
        }
        let Some(shape) = &self.shape else { return Ok(()) };
        let fits = shape.len() == tensor.dimensions.len()
            && shape.iter().zip(&tensor.dimensions).all(|(expected, given)| expected.is_none_or(|size| size == *given));
        if fits {
            return Ok(());
        }
        let expected: Vec<_> =
            shape.iter().map(|size| size.map_or("any".to_owned(), |size| size.to_string())).collect();
        Err(format!("shape [{}] is expected, {:?} was given", expected.join(", "), tensor.dimensions))
    }
}
