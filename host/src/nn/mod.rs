//! `wasi:nn` on the host: tensors, models and the backends that run them.
//!
//! - [`tensor`]: the tensor resource; its bytes are shared, never copied between stages.
//! - [`model`]: the seam `Backend` / `Model`, and the check of inputs against a model's signature.
//! - [`loaded`]: a run: inputs checked, its turn, on which thread.
//! - [`batch`]: runs of one model that wait at the same time become one.
//! - [`rten`], [`onnxruntime`]: the backends.
//! - [`onnx`]: what rten must be told about older ONNX files.
//! - `host`: the `wasi:nn` functions that a guest calls.

pub mod batch;
mod host;
pub mod loaded;
pub mod model;
pub mod onnx;
pub mod onnxruntime;
pub mod rten;
pub mod tensor;

pub use host::{ExecutionContext, Graph};
pub use loaded::LoadedModel;
pub use model::{Backend, LoadError, Model, ModelSource, NnError};
pub use tensor::{Tensor, TensorType};
