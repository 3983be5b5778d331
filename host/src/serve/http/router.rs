//! The HTTP router.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::encoding::Encoding;
use super::oip::error::error_reply;
use super::parameters::NoParameters;
use super::{
    admin, chips, config, console, encoding, fleet, infer, leaks, memory, models, oip, openapi, pipelines, recordings,
    requests,
};
use crate::base::process::process_memory;
use crate::serve::authentication::authenticate;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::part::Part;
use crate::serve::{App, blocking};

/// Builds the router with the HTTP routes of a part of the server.
pub fn router(app: Arc<App>, part: Part) -> Router {
    // These need neither a key nor the token.
    let mut documented = OpenApiRouter::with_openapi(openapi::Description::openapi()).merge(oip::routes::health());
    if part.serves_callers() {
        documented = documented.merge(with_keys(&app, caller_routes()));
    }
    // The routes that need the token check it themselves: they take an `Administrator`.
    if part.administers() {
        documented = documented
            .routes(routes!(metrics))
            .routes(routes!(admin::list))
            .routes(routes!(admin::show, admin::put, admin::delete))
            .routes(routes!(admin::rollback))
            .routes(routes!(fleet::fleet))
            .routes(routes!(memory::report))
            .routes(routes!(memory::compare))
            .routes(routes!(memory::series))
            .routes(routes!(config::config))
            .routes(routes!(requests::requests))
            .routes(routes!(leaks::list))
            .routes(routes!(leaks::file))
            .routes(routes!(recordings::list))
            .routes(routes!(recordings::show))
            .routes(routes!(chips::compare_chips))
            .merge(oip::routes::administration());
        if app.server.console {
            documented = documented.merge(console::routes());
        }
    }
    if !part.serves_callers() {
        documented = documented.merge(with_keys(&app, oip::routes::index()));
    }
    let (router, document) = documented.split_for_parts();
    let document = openapi::text(&openapi::complete(document));
    router
        .route("/openapi.json", get(move |_: NoParameters| openapi::show(document.clone())))
        .fallback(|uri: Uri| async move {
            error_reply(uri.path(), ServeError::not_found("no such route: GET /openapi.json lists all routes"))
        })
        .method_not_allowed_fallback(|uri: Uri| async move {
            let detail = "method not allowed: GET /openapi.json lists the methods of each route";
            error_reply(uri.path(), ServeError::new(ErrorKind::MethodNotAllowed, detail))
        })
        .with_state(app)
}

/// Adds the check of the caller's key, if callers need one.
fn with_keys(app: &Arc<App>, routes: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    match app.keys {
        Some(_) => routes.route_layer(from_fn_with_state(Arc::clone(app), authenticate)),
        None => routes,
    }
}

/// The routes of callers.
fn caller_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(infer::infer))
        .routes(routes!(pipelines::pipelines))
        .routes(routes!(models::models))
        .merge(oip::routes::documented())
        .merge(oip::routes::versioned().into())
}

/// The text of the metrics. With many pipelines it takes milliseconds.
fn metrics_text(app: &App) -> String {
    app.records.background.set_panics("epoch", app.runtime.epoch_thread().panics);
    app.records.metrics.set_load(&app.load());
    app.records.memory.update_metrics(Instant::now());
    app.records.metrics.encode(&process_memory(), app.runtime.pool_usage().as_ref())
}

/// Returns the metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "reports",
               responses((status = 200, description = "OpenMetrics", body = String,
                          content_type = "application/openmetrics-text")))]
async fn metrics(State(app): State<Arc<App>>, _: NoParameters, headers: HeaderMap) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let accepted = encoding::accepted(&headers);
    let copies = match accepted {
        None => &app.metrics[0],
        Some(Encoding::Gzip) => &app.metrics[1],
        Some(Encoding::Deflate) => &app.metrics[2],
    };
    let (body, encoding) = match copies.copy(Instant::now()) {
        Some(copy) => (copy, accepted),
        None => {
            let for_thread = Arc::clone(&app);
            let create = move || {
                let text = metrics_text(&for_thread);
                accepted.and_then(|encoding| encoding.pack(text.as_bytes())).ok_or(text)
            };
            match blocking::run(blocking::LARGE, create).await {
                Ok(packed) => (copies.keep(packed.into()), accepted),
                Err(text) if accepted.is_none() => (copies.keep(text.into()), None),
                Err(text) => (text.into(), None),
            }
        }
    };
    let mut response = body.into_response();
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    response
}
