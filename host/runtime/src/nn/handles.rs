//! The resources of `wasi:nn` that a guest holds handles to.

use std::sync::Arc;

use super::loaded_model::LoadedModel;

/// A model that a guest has opened.
#[derive(Clone)]
pub struct Graph(pub(crate) Arc<LoadedModel>);

/// A model that a guest is about to run.
#[derive(Clone)]
pub struct ExecutionContext(pub(crate) Arc<LoadedModel>);
