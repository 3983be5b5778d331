//! The model name and version in the path of a route.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::Deserialize;

use super::error::OipError;
use crate::serve::error::ServeError;

/// The model name and version in the path of a route.
#[derive(Debug, Deserialize)]
pub(in crate::serve::http) struct ModelPath {
    pub(super) model: String,
    #[serde(default)]
    pub(super) version: Option<String>,
}

/// Returns the model of the path, or error 404 if the path is not valid UTF-8.
pub(super) fn model_path(path: Result<Path<ModelPath>, PathRejection>) -> Result<ModelPath, OipError> {
    path.map(|Path(path)| path).map_err(|_| OipError(ServeError::not_found("the model name is not valid UTF-8")))
}
