//! `GET /v1/config`: the configuration in force. It needs the token of administration, because it names files.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::parameters::NoParameters;
use crate::serve::App;
use crate::serve::administrator::Administrator;
use crate::serve::problem::Problem;

/// Returns the configuration in force as TOML, without comments, and the versions of the server and its engine. Secrets are
/// replaced by `***`.
#[utoipa::path(get, path = "/v1/config", tag = "administration", security(("token" = [])),
               responses((status = 200, description = "The file, its content, and the versions", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn config(State(app): State<Arc<App>>, _: Administrator, _: NoParameters) -> Response {
    let config = Arc::clone(&app.deployments).change(async |_, deployer| deployer.config().clone()).await;
    let versions = json!({ "plimsoll": env!("CARGO_PKG_VERSION"), "wasmtime": env!("PLIMSOLL_WASMTIME") });
    // The bundled demo is no file. A command of a reader has another working folder.
    let is_file = !config.path.to_string_lossy().starts_with('(');
    let path = std::path::absolute(&config.path).ok().filter(|_| is_file).unwrap_or_else(|| config.path.clone());
    Json(json!({ "file": path, "toml": config.in_force.masked(), "versions": versions })).into_response()
}
