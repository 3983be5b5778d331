//! The Open Inference Protocol over REST: the routes below `/v2`.
//!
//! - [`routes`]: the list of routes. [`path`]: the model in a path. [`schema`]: the schemas of the OpenAPI document.
//! - [`infer`]: `POST …/infer`. [`json`], [`binary`]: the forms of its body.
//! - [`metadata`]: metadata and readiness.
//! - [`repository`], [`statistics`]: the extensions of these names.
//! - [`error`]: `{"error": …}` with the members of a problem.

pub(super) mod binary;
pub(super) mod error;
pub(super) mod infer;
pub(super) mod json;
pub(super) mod metadata;
pub(super) mod path;
pub(super) mod repository;
pub(super) mod routes;
pub(super) mod schema;
pub(super) mod statistics;
