//! The Open Inference Protocol over REST: the routes below `/v2`.
//!
//! - [`routes`]: the list of routes. [`path`]: the model in the path of a route. [`schema`]: the schemas of the OpenAPI
//!   document.
//! - [`infer`]: `POST …/infer`. [`json`], [`binary`]: the formats of its body.
//! - [`metadata`]: metadata and readiness. [`config`]: the model configuration extension.
//! - [`repository`], [`statistics`]: the protocol's extensions with these names.
//! - [`error`]: the error body, `{"error": …}` with the members of a problem.

#[cfg(fuzzing)]
use crate::serve::{error::ServeError, oip::model::ModelPart, oip::request::Request};

pub(super) mod binary;
pub(super) mod config;
pub(super) mod error;
pub(super) mod infer;
pub(super) mod json;
pub(super) mod metadata;
pub(super) mod path;
pub(super) mod repository;
pub(super) mod routes;
pub(super) mod schema;
pub(super) mod statistics;

/// Reads a body as the route does, for the fuzzing target `oip`.
#[cfg(fuzzing)]
pub(super) fn read_body(body: bytes::Bytes, header: Option<usize>, limit: u64) -> Result<Request, ServeError> {
    let mut reserved = crate::serve::admission::BodyBytes::unlimited();
    binary::read(body, header, limit, ModelPart::Infer, &mut reserved, &mut None).map_err(|error| match error {
        binary::ReadError::Refused(error) => error,
        binary::ReadError::NeedsMemory(bytes) => ServeError::invalid(format!("{bytes} bytes")),
    })
}
