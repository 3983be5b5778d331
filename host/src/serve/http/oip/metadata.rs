//! Metadata and readiness of the server and of models.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::schema::ProtocolError;
use crate::serve::App;
use crate::serve::http::parameters::NoParameters;
use crate::serve::oip::model::{Model, ModelMetadata};
use crate::serve::oip::{EXTENSIONS, SERVER_NAME, SERVER_VERSION};

/// The name, version and extensions of the server.
#[derive(Serialize, ToSchema)]
pub(in crate::serve::http) struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; EXTENSIONS.len()],
}

/// The liveness of the server.
#[derive(Serialize, ToSchema)]
pub(in crate::serve::http) struct Live {
    live: bool,
}

/// The readiness of the server: true if every pipeline can run.
#[derive(Serialize, ToSchema)]
pub(in crate::serve::http) struct Ready {
    ready: bool,
    /// Why the server is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The readiness of a model: true if it can run.
#[derive(Serialize, ToSchema)]
pub(in crate::serve::http) struct ModelReady {
    name: String,
    ready: bool,
}

/// Returns the name, version and extensions of the server.
#[utoipa::path(get, path = "/v2", operation_id = "server_metadata", tag = "inference",
               responses((status = 200, description = "Name, version and extensions", body = ServerMetadata)))]
pub(in crate::serve::http) async fn server(_: NoParameters) -> Json<ServerMetadata> {
    Json(ServerMetadata { name: SERVER_NAME, version: SERVER_VERSION, extensions: EXTENSIONS })
}

/// Returns the liveness of the server.
#[utoipa::path(get, path = "/v2/health/live", operation_id = "server_live", tag = "inference",
               responses((status = 200, description = "The server is live", body = Live)))]
pub(in crate::serve::http) async fn live(_: NoParameters) -> Json<Live> {
    Json(Live { live: true })
}

/// Returns the readiness of the server. The port opens only after every pipeline is built, so a client that can connect
/// gets `true` until one of the reasons below. Unloaded pipelines do not count.
#[utoipa::path(get, path = "/v2/health/ready", operation_id = "server_ready", tag = "inference",
               responses((status = 200, description = "Every pipeline can run", body = Ready),
                         (status = 503, description =
                             "The server is about to stop, a background task has ended, or neither the default chip of a \
                              pipeline nor its fallback is in service; `reason` says which", body = Ready)))]
pub(in crate::serve::http) async fn ready(State(app): State<Arc<App>>, _: NoParameters) -> Response {
    let reason = app.not_ready().map(|reason| reason.to_string());
    let ready = reason.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, reason })).into_response()
}

/// Returns the inputs and outputs of a model.
#[utoipa::path(get, path = "/v2/models/{model}", operation_id = "model_metadata", tag = "inference",
               params(("model" = String, Path, description = "A pipeline, or `<pipeline>.infer`")),
               responses((status = 200, description = "The inputs and outputs", body = ModelMetadata),
                         (status = 404, description = "There is no such model", body = ProtocolError)))]
pub(in crate::serve::http) async fn model(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    _: NoParameters,
) -> Result<Json<ModelMetadata>, OipError> {
    let ModelPath { model, version } = model_path(path)?;
    Ok(Json(Model::lookup(&app, &model, version.as_deref())?.metadata(&app)))
}

/// Returns the readiness of a model.
#[utoipa::path(get, path = "/v2/models/{model}/ready", operation_id = "model_ready", tag = "inference",
               params(("model" = String, Path, description = "A pipeline, or `<pipeline>.infer`")),
               responses((status = 200, description = "The model can run", body = ModelReady),
                         (status = 404, description = "There is no such model", body = ProtocolError),
                         (status = 503, description = "The model is unloaded, its device is out of service, or the server is about to stop", body = ModelReady)))]
pub(in crate::serve::http) async fn model_ready(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    _: NoParameters,
) -> Result<Response, OipError> {
    let ModelPath { model, version } = model_path(path)?;
    if Model::is_unloaded(&app, &model) {
        let body = Json(ModelReady { name: model, ready: false });
        return Ok((StatusCode::SERVICE_UNAVAILABLE, body).into_response());
    }
    let model = Model::lookup(&app, &model, version.as_deref())?;
    let ready = app.is_running() && model.pipeline.is_in_service();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(ModelReady { name: model.name, ready })).into_response())
}
