//! The repository extension. Its loads and unloads need the administration token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use utoipa::ToSchema;

use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::schema::ProtocolError;
use crate::serve::App;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::oip::repository::{self, IndexEntry};

/// Bytes of a body here: there is little to say.
const MAX_BODY: usize = 64 << 10;

/// Which models the index is to have.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::serve::http) struct IndexRequest {
    /// Only those that are ready.
    #[serde(default)]
    ready: bool,
}

/// What a load or unload says besides the name.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::serve::http) struct ChangeRequest {
    /// `unload_dependents` of an unload; a load has none that can be heeded.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: BTreeMap<String, IgnoredAny>,
}

/// Which models there are, loaded or not.
#[utoipa::path(post, path = "/v2/repository/index", operation_id = "repository_index", tag = "repository",
               request_body(content = IndexRequest),
               responses((status = 200, description = "The models", body = Vec<IndexEntry>),
                         (status = "4XX", description = "The caller's mistake", body = ProtocolError)))]
pub(in crate::serve::http) async fn index(
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<Json<Vec<IndexEntry>>, OipError> {
    let IndexRequest { ready } = read(body).await?;
    Ok(Json(repository::index(&app, ready)))
}

/// Loads a pipeline that was unloaded, or builds it anew with its files as they are now.
#[utoipa::path(post, path = "/v2/repository/models/{model}/load", operation_id = "repository_load", tag = "repository",
               params(("model" = String, Path, description = "A pipeline")),
               request_body(content = ChangeRequest),
               responses((status = 200, description = "It serves"),
                         (status = "4XX", description = "It does not", body = ProtocolError)))]
pub(in crate::serve::http) async fn load(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, OipError> {
    let by = app.access.check(&headers)?;
    let ModelPath { model, .. } = model_path(path)?;
    let ChangeRequest { parameters } = read(body).await?;
    let parameters: Vec<_> = parameters.into_keys().collect();
    repository::load(app, model, &parameters, by).await?;
    Ok(StatusCode::OK)
}

/// Unloads a pipeline.
#[utoipa::path(post, path = "/v2/repository/models/{model}/unload", operation_id = "repository_unload", tag = "repository",
               params(("model" = String, Path, description = "A pipeline")),
               request_body(content = ChangeRequest),
               responses((status = 200, description = "It serves no more"),
                         (status = "4XX", description = "It serves on", body = ProtocolError)))]
pub(in crate::serve::http) async fn unload(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, OipError> {
    let by = app.access.check(&headers)?;
    let ModelPath { model, .. } = model_path(path)?;
    let ChangeRequest { parameters: _ } = read(body).await?;
    repository::unload(app, model, by).await?;
    Ok(StatusCode::OK)
}

/// A small body, which may be empty.
async fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, ServeError> {
    let bytes: Bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|error| {
        let detail = format!("the body did not arrive completely, or is larger than {MAX_BODY} bytes: {error}");
        ServeError::new(ErrorKind::BodyTooLarge, detail)
    })?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| ServeError::invalid(format!("the body is not the JSON of this route: {error}")))
}
