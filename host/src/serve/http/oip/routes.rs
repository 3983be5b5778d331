//! The routes below `/v2`.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{config, infer, metadata, repository, statistics};
use crate::serve::App;

/// The suffixes of `/v2/models/{model}` that are also routes below a version, with the same handlers.
pub(in crate::serve::http) const VERSIONED: [&str; 5] = ["", "/ready", "/infer", "/stats", "/config"];

/// The routes of callers that are registered with their OpenAPI description.
pub(in crate::serve::http) fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(metadata::server))
        .routes(routes!(metadata::model))
        .routes(routes!(metadata::model_ready))
        .routes(routes!(config::model))
        .routes(routes!(infer::infer))
        .routes(routes!(statistics::all))
        .routes(routes!(statistics::model))
        .merge(index())
}

/// The routes of the server's health.
pub(in crate::serve::http) fn health() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(metadata::live)).routes(routes!(metadata::ready))
}

/// The list of models. Callers have it too.
pub(in crate::serve::http) fn index() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(repository::index))
}

/// The routes that need the token of administration.
pub(in crate::serve::http) fn administration() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(repository::load)).routes(routes!(repository::unload))
}

/// The same routes for a model version. The OpenAPI document derives their description from the routes of the model.
pub(in crate::serve::http) fn versioned() -> Router<Arc<App>> {
    let at = |rest: &str| format!("/v2/models/{{model}}/versions/{{version}}{rest}");
    let [model, ready, infer, stats, model_config] = VERSIONED.map(at);
    Router::new()
        .route(&model, get(metadata::model))
        .route(&ready, get(metadata::model_ready))
        .route(&infer, post(infer::infer))
        .route(&stats, get(statistics::model))
        .route(&model_config, get(config::model))
}
