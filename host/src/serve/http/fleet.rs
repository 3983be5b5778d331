//! `GET /v1/fleet`: the canaries of this server, for the other servers of its fleet, and whether those answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::parameters::NoParameters;
use crate::serve::App;
use crate::serve::administrator::FleetMember;
use crate::serve::error::ServeError;
use crate::serve::problem::Problem;

/// Returns the canaries of this server, and the servers with which it decides them.
#[utoipa::path(get, path = "/v1/fleet", tag = "administration", security(("token" = [])),
               responses((status = 200, description = "The canaries and the other servers", body = Object),
                         (status = "4XX", description = "There are no other servers, or the token is missing",
                          body = Problem, content_type = "application/problem+json")))]
pub(super) async fn fleet(
    State(app): State<Arc<App>>,
    _: FleetMember,
    _: NoParameters,
) -> Result<Response, ServeError> {
    let none = || ServeError::not_found("this server decides canaries alone: it has no `[fleet] peers`");
    let report = app.serving().fleet_report().ok_or_else(none)?;
    let peers = app.serving().fleet.as_ref().map(|fleet| fleet.peers());
    Ok(Json(json!({ "server": report.server, "canaries": report.canaries, "peers": peers })).into_response())
}
