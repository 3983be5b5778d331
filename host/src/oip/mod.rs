//! The Open Inference Protocol without its transport: what REST (`http/oip/`) and gRPC (`grpc/`) have in common.
//!
//! - [`model`]: a pipeline, or its infer stage, under the name of a model.
//! - [`tensor`]: named tensors of the protocol's datatypes, and what `wasi:nn` makes of them.
//! - [`parameter`]: the protocol's parameters.
//! - [`infer`]: a request with tensors becomes runs of stages, and these a response; [`batch`]: many images at once.
//! - [`repository`]: models are listed, loaded and unloaded.
//! - [`statistics`]: counts and times by model and version.

pub mod batch;
pub mod infer;
pub mod model;
pub mod parameter;
pub mod repository;
pub mod statistics;
pub mod tensor;

/// The extensions that the server announces.
pub const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "model_repository", "parameters", "statistics"];

/// The server's name in its metadata.
pub const SERVER_NAME: &str = env!("CARGO_PKG_NAME");

/// The server's version in its metadata.
pub const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");
