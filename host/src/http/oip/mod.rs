//! The Open Inference Protocol over REST: the routes below `/v2`.
//!
//! - [`infer`]: `POST …/infer`. [`json`], [`binary`]: the forms of its body.
//! - [`metadata`]: what there is, and whether it is ready.
//! - [`repository`], [`statistics`]: the extensions of these names.
//! - [`error`]: `{"error": …}` with the members of a problem.

pub(super) mod binary;
pub(super) mod error;
pub(super) mod infer;
pub(super) mod json;
pub(super) mod metadata;
pub(super) mod repository;
pub(super) mod statistics;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::routing::{get, post};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::problem::Problem;
use error::Error;

/// What may stand behind `/v2/models/{model}` and, with the same answer, behind a version.
pub(super) const VERSIONED: [&str; 4] = ["", "/ready", "/infer", "/stats"];

/// The routes that the OpenAPI document names once.
pub(super) fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(metadata::server))
        .routes(routes!(metadata::live))
        .routes(routes!(metadata::ready))
        .routes(routes!(metadata::model))
        .routes(routes!(metadata::model_ready))
        .routes(routes!(infer::infer))
        .routes(routes!(statistics::all))
        .routes(routes!(statistics::model))
        .routes(routes!(repository::index))
        .routes(routes!(repository::load))
        .routes(routes!(repository::unload))
}

/// The same routes for a version; the document makes theirs of the others.
pub(super) fn versioned() -> Router<Arc<App>> {
    let at = |rest: &str| format!("/v2/models/{{model}}/versions/{{version}}{rest}");
    let [model, ready, infer, stats] = VERSIONED.map(at);
    Router::new()
        .route("/v2/", get(metadata::server))
        .route(&model, get(metadata::model))
        .route(&ready, get(metadata::model_ready))
        .route(&infer, post(infer::infer))
        .route(&stats, get(statistics::model))
}

/// The model in a route's path.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub(super) model: String,
    #[serde(default)]
    pub(super) version: Option<String>,
}

/// The path of a route, or 404 where it is no text.
pub(super) fn target(path: Result<Path<Target>, PathRejection>) -> Result<Target, Error> {
    path.map(|Path(target)| target).map_err(|_| Error(Problem::not_found("the name of the model is no UTF-8")))
}
