//! The Open Inference Protocol over REST: the routes below `/v2`.
//!
//! - [`routes`]: the list of routes. [`path`]: the model in the path of a route. [`schema`]: the schemas of the OpenAPI
//!   document.
//! - [`infer`]: `POST …/infer`. [`json`], [`binary`]: the formats of its body.
//! - [`metadata`]: metadata and readiness. [`config`]: the model configuration extension.
//! - [`repository`], [`statistics`]: the protocol's extensions with these names.
//! - [`error`]: the error body, `{"error": …}` with the members of a problem.

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
