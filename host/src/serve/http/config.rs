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

/// Returns the configuration in force as TOML, without comments. Secrets are replaced by `***`.
#[utoipa::path(get, path = "/v1/config", tag = "administration", security(("token" = [])),
               responses((status = 200, description = "The file, and its content", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn config(State(app): State<Arc<App>>, _: Administrator, _: NoParameters) -> Response {
    let config = Arc::clone(&app.deployments).change(async |_, deployer| deployer.config().clone()).await;
    Json(json!({ "file": config.path, "toml": config.in_force.masked() })).into_response()
}
