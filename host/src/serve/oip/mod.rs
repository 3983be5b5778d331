//! The Open Inference Protocol, independent of the transport: the code that REST (`http/oip/`) and gRPC (`grpc/`)
//! share.
//!
//! - [`model`]: a pipeline, or its infer stage, as a model.
//! - [`request`]: requests and responses. [`tensor`]: their tensors. [`datatype`]: the types of elements.
//!   [`binary_form`]: the elements as bytes. `conversion`: to tensors of stages and back. [`parameter`]: parameters.
//!   [`json_outputs`]: which outputs are written as JSON.
//! - [`call`]: a request in progress. [`infer`]: runs its stages. [`images`]: runs the images of one request.
//! - [`repository`]: lists, loads and unloads models.
//! - [`statistics`]: counts and times per model and version.

pub mod binary_form;
pub mod call;
mod conversion;
pub mod datatype;
pub mod images;
pub mod infer;
pub mod json_outputs;
pub mod model;
pub mod parameter;
pub mod repository;
pub mod request;
pub mod statistics;
pub mod tensor;

/// The extensions that the server announces.
pub const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "model_repository", "parameters", "statistics"];

/// The server's name in its metadata.
pub const SERVER_NAME: &str = env!("CARGO_PKG_NAME");

/// The server's version in its metadata.
pub const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");
