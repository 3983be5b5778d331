//! Administration: the routes that list and change the plugins that are served.
//!
//! All clients may read. Changes need the bearer token. If no token is set and the server listens on the loopback
//! interface only, all local users may make changes (`access.rs`).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::identity::{Identity, check_plugin_name};
use serde::Deserialize;
use serde_json::json;

use crate::deploy::manifest::Manifest;
use crate::deploy::{DeployedState, Release, ReleaseSource};
use crate::serve::App;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::Problem;

/// Lists the plugins and their versions.
#[utoipa::path(get, path = "/v1/plugins", tag = "administration",
               responses((status = 200, description = "The plugins and their versions", body = Object)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    Json(json!({ "plugins": app.serving().plugin_views() })).into_response()
}

/// Returns one plugin with its versions.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "administration",
               params(("name" = String, Path, description = "The plugin")),
               responses((status = 200, description = "The plugin and its versions", body = Object),
                         (status = 404, description = "There is no such plugin", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.serving().plugin_views().into_iter().find(|view| view.name == name) {
        Some(view) => Json(view).into_response(),
        None => ServeError::not_found(format!("there is no plugin `{name}`")).into_response(),
    }
}

/// The query of `PUT`.
#[derive(Debug, Deserialize)]
pub(super) struct Put {
    /// The digest that the body must have.
    sha256: Option<String>,
    /// The version. If it is not given, the version in the component is used.
    version: Option<String>,
}

/// Deploys the component in the body. Replies when the component serves or is rejected.
#[utoipa::path(put, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("sha256" = Option<String>, Query, description = "The digest that the body must have"),
                      ("version" = Option<String>, Query, description = "The version; default the component's")),
               request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component"),
               responses((status = 200, description = "The version and its state", body = Object),
                         (status = "4XX", description = "The change is rejected", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<Put>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let by = app.access.check(&headers)?;
    let rejected = |detail: String| ServeError::new(ErrorKind::PluginRejected, detail);
    check_plugin_name(&name).map_err(|error| rejected(error.to_string()))?;
    let limit =
        Arc::clone(&app.deployments).change(async |_, deployer| deployer.config().deploy.max_plugin.as_u64()).await;
    let bytes = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX)).await.map_err(|error| {
        let detail = format!(
            "the component did not arrive completely, or is larger than {limit} bytes (`deploy.max_plugin`): {error}"
        );
        ServeError::new(ErrorKind::BodyTooLarge, detail)
    })?;
    let manifest = Manifest { sha256: query.sha256, path: "the request".into(), ..Manifest::default() };
    let release = Release::new(&name, query.version.as_deref(), bytes, manifest, ReleaseSource::Http);
    release.manifest.check_digest(&release.artifact.identity.digest).map_err(rejected)?;
    let identity = release.artifact.identity.clone();
    let deploy =
        app.deployments.clone().change(async move |serving, deployer| deployer.deploy(serving, release, by).await);
    Ok(state_reply(&identity, deploy.await?))
}

/// Retires a plugin.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin")),
               responses((status = 200, description = "The plugin is retired", body = Object),
                         (status = "4XX", description = "The change is rejected", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let by = app.access.check(&headers)?;
    let retired = name.clone();
    app.deployments.clone().change(async move |serving, deployer| deployer.retire(serving, &retired, by)).await?;
    Ok(Json(json!({ "name": name, "state": "retired" })).into_response())
}

/// The query of `rollback`.
#[derive(Debug, Deserialize)]
pub(super) struct Rollback {
    /// The version, or the first digits of its digest; default the latest previous version.
    to: Option<String>,
}

/// Rolls a plugin back to a previous version.
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("to" = Option<String>, Query, description = "A version, or the first digits of its digest")),
               responses((status = 200, description = "The version and its state", body = Object),
                         (status = "4XX", description = "The change is rejected", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<Rollback>,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let by = app.access.check(&headers)?;
    let rollback = app
        .deployments
        .clone()
        .change(async move |serving, deployer| deployer.rollback(serving, &name, query.to.as_deref(), by).await);
    Ok(state_reply(&rollback.await?, DeployedState::Serving))
}

/// The reply to a change: the version and its state.
fn state_reply(identity: &Identity, state: DeployedState) -> Response {
    let Identity { name, version, digest } = identity;
    Json(json!({ "name": name, "version": version, "digest": digest, "state": state })).into_response()
}
