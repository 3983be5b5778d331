//! The protocol's statistics extension.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::schema::ProtocolError;
use crate::records::statistics::ModelStatistics;
use crate::serve::App;
use crate::serve::http::parameters::NoParameters;
use crate::serve::oip::statistics::list;

/// The statistics of models and versions.
#[derive(Serialize, ToSchema)]
pub(in crate::serve::http) struct Statistics {
    model_stats: Vec<ModelStatistics>,
}

/// Returns the request counts and times of every model.
#[utoipa::path(get, path = "/v2/models/stats", operation_id = "statistics", tag = "inference",
               responses((status = 200, description = "Counts and times since the server started", body = Statistics)))]
pub(in crate::serve::http) async fn all(
    State(app): State<Arc<App>>,
    _: NoParameters,
) -> Result<Json<Statistics>, OipError> {
    Ok(Json(Statistics { model_stats: list(&app, None, None)? }))
}

/// Returns the request counts and times of a model.
#[utoipa::path(get, path = "/v2/models/{model}/stats", operation_id = "model_statistics", tag = "inference",
               params(("model" = String, Path, description = "A pipeline, or `<pipeline>.infer`")),
               responses((status = 200, description = "Counts and times since the server started", body = Statistics),
                         (status = 404, description = "There is no such model", body = ProtocolError)))]
pub(in crate::serve::http) async fn model(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    _: NoParameters,
) -> Result<Json<Statistics>, OipError> {
    let ModelPath { model, version } = model_path(path)?;
    Ok(Json(Statistics { model_stats: list(&app, Some(&model), version.as_deref())? }))
}
