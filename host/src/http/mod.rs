//! HTTP: the routes, and the server that stops without losing a request.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /v1/pipelines/{pipeline}/infer` | one request: `infer.rs` |
//! | `GET /v1/pipelines`, `/v1/plugins[/{name}]` | what is served |
//! | `PUT`, `DELETE /v1/plugins/{name}`, `POST /v1/plugins/{name}/rollback` | changes of it: `admin.rs` |
//! | `GET /v1/memory`, `/v1/memory/compare` | what requests needed, and why: `memory.rs` |
//! | `/v2…` | the Open Inference Protocol: `oip/`; over gRPC on the same port: `crate::grpc` |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /openapi.json` | the OpenAPI document: `openapi.rs` |

pub mod admin;
pub mod admission;
mod body;
mod infer;
mod memory;
mod oip;
mod openapi;
pub mod problem;
pub mod reply;
mod server;
mod unread;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use problem::Problem;
pub use server::{Listeners, serve};

/// Every route of HTTP, over a built [`App`].
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
        .merge(oip::documented());
    let (router, document) = documented.split_for_parts();
    let document = Arc::new(openapi::complete(document));
    router
        .merge(oip::versioned())
        .route("/openapi.json", get(move || openapi::show(Arc::clone(&document))))
        .fallback(|uri: Uri| async move {
            told(uri.path(), Problem::not_found("there is no such route; the README lists them"))
        })
        .method_not_allowed_fallback(|uri: Uri| async move {
            let detail = "this route has another method";
            told(uri.path(), Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail))
        })
        .with_state(app)
}

/// A problem in the form of the routes around it.
fn told(path: &str, problem: Problem) -> Response {
    match path == "/v2" || path.starts_with("/v2/") {
        true => oip::error::Error(problem).into_response(),
        false => problem.into_response(),
    }
}

/// What is served.
#[utoipa::path(get, path = "/v1/pipelines", tag = "administration",
               responses((status = 200, description = "The pipelines, with plugins and limits", body = Object)))]
async fn pipelines(State(app): State<Arc<App>>) -> Response {
    let pipelines: Vec<_> = app
        .served
        .load()
        .routes
        .values()
        .map(|route| {
            let pipeline = &route.stable;
            let stage = |stage: &crate::stage::Stage| json!({
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

/// Metrics in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "reports",
               responses((status = 200, description = "OpenMetrics", body = String,
                          content_type = "application/openmetrics-text")))]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.recorder.metrics.encode(&crate::memory::process(), app.engines.pool().as_ref());
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
