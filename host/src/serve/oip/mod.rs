//! The Open Inference Protocol without its transport: the common part of REST (`http/oip/`) and gRPC (`grpc/`).
//!
//! - [`model`]: a pipeline, or its infer stage, as a model.
//! - [`request`]: requests and responses. [`tensor`]: their tensors. [`parameter`]: their parameters.
//! - [`call`]: a request on its way. [`infer`]: runs its stages. [`images`]: many images in one request.
//! - [`repository`]: models are listed, loaded and unloaded.
//! - [`statistics`]: counts and times by model and version.

pub mod call;
pub mod images;
pub mod infer;
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
