//! The HTTP router.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use plimsoll_runtime::stage::StageCore;
use serde_json::json;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{admin, infer, memory, oip, openapi};
use crate::base::process::process_memory;
use crate::serve::App;
use crate::serve::error::{ErrorKind, ServeError};

/// Builds the router with all HTTP routes.
pub fn router(app: Arc<App>) -> Router {
    let documented = OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(infer::infer))
        .routes(routes!(pipelines))
        .routes(routes!(admin::list))
        .routes(routes!(admin::show, admin::put, admin::delete))
        .routes(routes!(admin::rollback))
        .routes(routes!(memory::report))
        .routes(routes!(memory::compare))
        .routes(routes!(metrics))
        .merge(oip::routes::documented());
    let (router, document) = documented.split_for_parts();
    let document = Arc::new(openapi::complete(document));
    router
        .merge(oip::routes::versioned())
        .route("/openapi.json", get(move || openapi::show(Arc::clone(&document))))
        .fallback(|uri: Uri| async move {
            error_reply(uri.path(), ServeError::not_found("no such route: GET /openapi.json lists all routes"))
        })
        .method_not_allowed_fallback(|uri: Uri| async move {
            let detail = "method not allowed: GET /openapi.json lists the methods of each route";
            error_reply(uri.path(), ServeError::new(ErrorKind::MethodNotAllowed, detail))
        })
        .with_state(app)
}

/// The error in the format of the routes at `path`: the protocol's format below `/v2`, a problem elsewhere.
fn error_reply(path: &str, error: ServeError) -> Response {
    match path == "/v2" || path.starts_with("/v2/") {
        true => oip::error::OipError(error).into_response(),
        false => error.into_response(),
    }
}

/// Lists the pipelines that are served.
#[utoipa::path(get, path = "/v1/pipelines", tag = "administration",
               responses((status = 200, description = "The pipelines, with plugins and limits", body = Object)))]
async fn pipelines(State(app): State<Arc<App>>) -> Response {
    let pipelines: Vec<_> = app
        .served()
        .load()
        .routes
        .values()
        .map(|route| {
            let pipeline = &route.stable;
            let stage = |stage: &StageCore| json!({
                "plugin": stage.plugin.name, "version": stage.plugin.version,
                "max_memory": stage.limits.max_memory, "deadline_seconds": stage.limits.deadline.as_secs_f64(),
            });
            json!({
                "name": pipeline.name,
                "default_chip": pipeline.default_chip,
                "deadline_seconds": pipeline.deadline.as_secs_f64(),
                "preprocess": stage(&pipeline.preprocess),
                "chips": pipeline.chips.iter().map(|(name, chip)| (name.clone(), stage(chip))).collect::<serde_json::Map<_, _>>(),
                "postprocess": stage(&pipeline.postprocess),
            })
        })
        .collect();
    Json(json!({ "pipelines": pipelines })).into_response()
}

/// Returns the metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "reports",
               responses((status = 200, description = "OpenMetrics", body = String,
                          content_type = "application/openmetrics-text")))]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.records.metrics.encode(&process_memory(), app.runtime.pool_usage().as_ref());
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
