//! The seam between `wasi:nn` and the libraries that compute.

use std::path::PathBuf;
use std::sync::Arc;

use super::tensor::{Tensor, TensorType, type_name};
use crate::config::Target;
use crate::stage::bindings::imports::wasi::nn::errors::ErrorCode;

/// A library that runs models.
pub trait Backend: Send + Sync {
    /// Makes a model ready to run.
    ///
    /// # Errors
    /// What is wrong with the file or with the library, and the mend.
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError>;
}

/// Named tensors that a run gives, in the model's order.
pub type Outputs = Vec<(String, Tensor)>;

/// A model that is ready to run, shared by all requests.
pub trait Model: Send + Sync {
    /// The inputs that a run needs.
    fn inputs(&self) -> &[Signature];
    /// The outputs that a run gives.
    fn outputs(&self) -> &[Signature];
    /// How many runs may go on at once; more wait without a thread.
    fn concurrent_runs(&self) -> usize;
    /// Whether all of a run is computed by the thread that asks for it, so that the time of this thread is the run's.
    fn computes_here(&self) -> bool {
        false
    }
    /// Runs the model; blocks the thread. `inputs` stand in the order of [`Model::inputs`] and fit it.
    /// Gives the outputs by name, in the model's order.
    ///
    /// # Errors
    /// The library's own words.
    fn run(&self, inputs: &[Tensor]) -> Result<Outputs, String>;
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The name in the configuration.
    pub name: String,
    /// For messages.
    pub path: PathBuf,
    /// The file's bytes.
    pub bytes: Arc<Vec<u8>>,
    /// The device that it is to run on.
    pub target: Target,
}

/// Name, type and shape of an input or output.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The name by which it is given.
    pub name: String,
    /// The element types that are accepted; the first is the model's own. Empty: not known.
    pub types: Vec<TensorType>,
    /// The sizes of the dimensions, `None` for a free one; `None` as a whole where the rank is free.
    pub shape: Option<Vec<Option<u32>>>,
}

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// What a `wasi:nn` call answers instead of a result; a resource on the guest's side.
#[derive(Debug, Clone)]
pub struct NnError {
    /// The kind of error.
    pub code: ErrorCode,
    /// The sentence.
    pub message: String,
}

impl Signature {
    pub(super) fn check(&self, tensor: &Tensor) -> Result<(), String> {
        tensor.check_size()?;
        if !self.types.is_empty() && !self.types.contains(&tensor.ty) {
            return Err(format!("{} is expected, {} was given", type_name(self.types[0]), type_name(tensor.ty)));
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
