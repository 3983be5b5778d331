//! The protocol's model repository extension. Loading and unloading need the administration token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use utoipa::ToSchema;

use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::schema::ProtocolError;
use crate::base::object::Object;
use crate::serve::App;
use crate::serve::administrator::Administrator;
use crate::serve::error::ServeError;
use crate::serve::http::body::{self, Limits};
use crate::serve::http::encoding;
use crate::serve::http::parameters::{NoParameters, Parameters};
use crate::serve::oip::repository::{self, IndexEntry};

/// Maximum size of a body of these routes, in bytes. Their bodies are small.
const MAX_BODY: u64 = 64 << 10;

/// The body of an index request: selects the models.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::serve::http) struct IndexRequest {
    /// True for only the models that are ready.
    #[serde(default)]
    ready: bool,
}

/// The body of a load or unload request.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::serve::http) struct ChangeRequest {
    /// An unload ignores its parameters, for example `unload_dependents`. A load supports none.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: BTreeMap<String, IgnoredAny>,
}

/// A request of an administrator to load or unload a pipeline.
pub(in crate::serve::http) struct Change {
    by: &'static str,
    model: String,
    parameters: BTreeMap<String, IgnoredAny>,
}

impl FromRequest<Arc<App>> for Change {
    type Rejection = OipError;

    /// The token is checked first: without it, a reply says nothing about the rest, and the body is not read.
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, OipError> {
        let (mut parts, body) = request.into_parts();
        let Administrator { by } = Administrator::from_request_parts(&mut parts, app).await?;
        Parameters::from_request_parts(&mut parts, app).await?.none()?;
        let ModelPath { model, .. } = model_path(Path::<ModelPath>::from_request_parts(&mut parts, app).await)?;
        let ChangeRequest { parameters } = read(app, &parts.headers, body).await?;
        Ok(Self { by, model, parameters })
    }
}

/// Lists the models, both loaded and unloaded.
#[utoipa::path(post, path = "/v2/repository/index", operation_id = "repository_index", tag = "repository",
               request_body(content = IndexRequest),
               responses((status = 200, description = "The models", body = Vec<IndexEntry>),
                         (status = "4XX", description = "Client error", body = ProtocolError)))]
pub(in crate::serve::http) async fn index(
    State(app): State<Arc<App>>,
    _: NoParameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<IndexEntry>>, OipError> {
    let IndexRequest { ready } = read(&app, &headers, body).await?;
    Ok(Json(repository::index(&app, ready)))
}

/// Loads a pipeline that was unloaded. A pipeline that is loaded is built again from the current files.
#[utoipa::path(post, path = "/v2/repository/models/{model}/load", operation_id = "repository_load", tag = "repository",
               params(("model" = String, Path, description = "A pipeline")),
               request_body(content = ChangeRequest),
               responses((status = 200, description = "The pipeline serves"),
                         (status = "4XX", description = "The pipeline was not loaded", body = ProtocolError)))]
pub(in crate::serve::http) async fn load(
    State(app): State<Arc<App>>,
    Change { by, model, parameters }: Change,
) -> Result<StatusCode, OipError> {
    let parameters: Vec<_> = parameters.into_keys().collect();
    repository::load(app, model, &parameters, by).await?;
    Ok(StatusCode::OK)
}

/// Unloads a pipeline.
#[utoipa::path(post, path = "/v2/repository/models/{model}/unload", operation_id = "repository_unload", tag = "repository",
               params(("model" = String, Path, description = "A pipeline")),
               request_body(content = ChangeRequest),
               responses((status = 200, description = "The pipeline is unloaded"),
                         (status = "4XX", description = "The pipeline was not unloaded", body = ProtocolError)))]
pub(in crate::serve::http) async fn unload(
    State(app): State<Arc<App>>,
    Change { by, model, parameters: _ }: Change,
) -> Result<StatusCode, OipError> {
    repository::unload(app, model, by).await?;
    Ok(StatusCode::OK)
}

/// Reads a small JSON body. An empty body gives the default.
async fn read<T: DeserializeOwned + Default>(app: &App, headers: &HeaderMap, body: Body) -> Result<T, ServeError> {
    encoding::refuse_packed(headers)?;
    let limits = Limits { size: MAX_BODY, size_key: "the limit of this route", ..Limits::for_request(app, None) };
    let (bytes, _counted) = body::receive_within(app, headers, body, &limits, app.admission.body(None)).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes)
        .map(|Object(request)| request)
        .map_err(|error| ServeError::invalid(format!("the body is not valid JSON for this route: {error}")))
}
