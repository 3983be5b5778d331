//! HTTP: the routes, and the server that stops without losing a request.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /v1/pipelines/{pipeline}/infer` | one request: `infer.rs` |
//! | `GET /v1/pipelines`, `/v1/plugins[/{name}]` | what is served |
//! | `PUT`, `DELETE /v1/plugins/{name}`, `POST /v1/plugins/{name}/rollback` | changes of it: `admin.rs` |
//! | `GET /v1/memory`, `/v1/memory/compare` | what requests needed, and why: `memory.rs` |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /v2/health/live`, `/v2/health/ready` | 200 with a JSON body |

pub mod admin;
pub mod admission;
mod infer;
mod memory;
pub mod problem;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::app::App;
use problem::Problem;

/// Every route, over a built [`App`].
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/pipelines/{pipeline}/infer", post(infer::infer))
        .route("/v1/pipelines", get(pipelines))
        .route("/v1/plugins", get(admin::list))
        .route("/v1/plugins/{name}", get(admin::show).put(admin::put).delete(admin::delete))
        .route("/v1/plugins/{name}/rollback", post(admin::rollback))
        .route("/v1/memory", get(memory::report))
        .route("/v1/memory/compare", get(memory::compare))
        .route("/metrics", get(metrics))
        .route("/v2/health/live", get(|| async { Json(json!({ "live": true })) }))
        // The port opens only after every pipeline is built, so whoever can ask finds them ready.
        .route("/v2/health/ready", get(|| async { Json(json!({ "ready": true })) }))
        .fallback(|| async { Problem::not_found("there is no such route; the README lists them") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this route has another method")
        })
        .with_state(app)
}

/// Serves until `shutdown` completes, then stops accepting and lets the requests inside finish within the
/// grace period.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let grace = app.server.grace_period;
    let watch = tokio::spawn(crate::deploy::watch::watch(Arc::downgrade(&app)));
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let signal = async move {
        shutdown.await;
        tracing::info!("stopping: no new connections; requests inside have {grace:?}");
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(signal);
    let result = tokio::select! {
        result = server.into_future() => result,
        () = async {
            // Without a signal (the sender is dropped with the server) there is nothing to time.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(grace).await;
        } => {
            tracing::warn!("the grace period is over; the requests still inside are cut off");
            Ok(())
        }
    };
    watch.abort();
    result
}

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

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.recorder.metrics.encode(&crate::memory::process(), app.engines.pool().as_ref());
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
