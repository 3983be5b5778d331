//! The seam between `wasi:nn` and the libraries that compute, and what all of them share.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::tensor::{Tensor, TensorType, type_name};
use crate::stage::bindings::imports::wasi::nn::errors::ErrorCode;

/// A library that runs models.
pub trait Backend: Send + Sync {
    /// Makes a model ready to run.
    ///
    /// # Errors
    /// What is wrong with the file or with the library, and the mend.
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError>;
}

/// A model that is ready to run, shared by all requests.
pub trait Model: Send + Sync {
    /// The inputs that a run needs.
    fn inputs(&self) -> &[Signature];
    /// How many runs may go on at once; more wait without a thread.
    fn concurrent_runs(&self) -> usize;
    /// Runs the model; blocks the thread. `inputs` stand in the order of [`Model::inputs`] and fit it.
    /// Gives the outputs by name, in the model's order.
    ///
    /// # Errors
    /// The library's own words.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<(String, Tensor)>, String>;
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
}

/// Name, type and shape of an input.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The name by which the input is given.
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

/// A model with its name and the bound on its concurrent runs.
pub struct LoadedModel {
    name: String,
    digest: String,
    model: Box<dyn Model>,
    /// Taken before `runs`, so that who waits for this model holds nothing that another could use.
    turns: Arc<Semaphore>,
    runs: Arc<Semaphore>,
}

impl LoadedModel {
    /// `digest` is the SHA-256 of the file, `runs` bounds how many runs of the whole backend go on at once.
    pub fn new(name: String, digest: String, model: Box<dyn Model>, runs: Arc<Semaphore>) -> Self {
        let turns = Arc::new(Semaphore::new(model.concurrent_runs().min(Semaphore::MAX_PERMITS)));
        Self { name, digest, model, turns, runs }
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks the inputs by name, type and shape, then runs the model on a thread for blocking work.
    ///
    /// # Errors
    /// `invalid-argument` names the model, the input, and what was expected and given.
    pub async fn run(self: Arc<Self>, inputs: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, NnError> {
        let ordered = self.order(inputs).map_err(|message| NnError { code: ErrorCode::InvalidArgument, message })?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("never closed");
        let run = Arc::clone(&self.runs).acquire_owned().await.expect("never closed");
        let failed = |message: String| NnError { code: ErrorCode::RuntimeError, message };
        let this = Arc::clone(&self);
        tokio::task::spawn_blocking(move || {
            let _permits = (turn, run);
            this.model.run(&ordered)
        })
        .await
        .map_err(|error| failed(format!("model `{}`: {error}", self.name)))?
        .map_err(|message| failed(format!("model `{}`: {message}", self.name)))
    }

    fn order(&self, mut given: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, String> {
        let model = &self.name;
        let expected = self.model.inputs();
        let names = || expected.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join("`, `");
        if let Some((name, _)) = given.iter().find(|(name, _)| expected.iter().all(|input| input.name != *name)) {
            return Err(format!("model `{model}` has no input `{name}`; it takes `{}`", names()));
        }
        expected
            .iter()
            .map(|input| {
                let position = given.iter().position(|(name, _)| *name == input.name).ok_or_else(|| {
                    format!("model `{model}`: input `{}` is missing; it takes `{}`", input.name, names())
                })?;
                let (_, tensor) = given.swap_remove(position);
                input.check(&tensor).map_err(|what| format!("model `{model}`, input `{}`: {what}", input.name))?;
                Ok(tensor)
            })
            .collect()
    }
}

impl Signature {
    fn check(&self, tensor: &Tensor) -> Result<(), String> {
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
