//! `GET /v1/requests`: the latest requests. It needs the token of administration, because it names callers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use humantime_serde::re::humantime::format_rfc3339_millis;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;
use plimsoll_runtime::text::shortened;
use serde_json::{Value, json};

use super::parameters::{Parameters, wrong};
use crate::records::recent::{KEPT, RecentRequest};
use crate::records::time::representable;
use crate::serve::App;
use crate::serve::administrator::Administrator;
use crate::serve::error::ServeError;
use crate::serve::problem::Problem;

/// Lists the latest requests that have ended, the newest first: `GET /v1/requests?limit=…&outcome=…`.
#[utoipa::path(get, path = "/v1/requests", tag = "reports", security(("token" = [])),
               params(("limit" = Option<usize>, Query, description = "The most requests; default and maximum 200"),
                      ("outcome" = Option<String>, Query, description = "Only requests that ended so")),
               responses((status = 200, description = "The requests: times in seconds, high-water marks in bytes", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn requests(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [limit, outcome] = parameters.named(["limit", "outcome"])?;
    let limit = limit.map_or(Ok(KEPT), |text| limited(&text, KEPT))?;
    let outcome = outcome.map(|text| known(&text)).transpose()?;
    let requests: Vec<_> = app.records.recent.latest(limit, outcome).iter().map(shown).collect();
    Ok(Json(json!({ "kept": KEPT, "requests": requests })).into_response())
}

/// The number of a parameter `limit`, from 1 to `most`.
pub(super) fn limited(text: &str, most: usize) -> Result<usize, ServeError> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| wrong(format!("`limit={}` is not a number from 1 to {most}", shortened(text))))
}

fn known(text: &str) -> Result<Outcome, ServeError> {
    Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or_else(|| {
        let known = Outcome::ALL.map(Outcome::as_str).join("`, `");
        wrong(format!("`outcome={}` is not an outcome; use one of `{known}`", shortened(text)))
    })
}

fn shown(request: &RecentRequest) -> Value {
    let RecentRequest { id, pipeline, chip, caller, outcome, status, started, duration, queue_time, stages } = request;
    json!({
        "id": id,
        "pipeline": pipeline,
        "chip": chip,
        "caller": caller,
        "outcome": outcome,
        "status": status,
        "started": format_rfc3339_millis(representable(*started)).to_string(),
        "seconds": duration.as_secs_f64(),
        "queue_seconds": queue_time.as_secs_f64(),
        "stages": stages.iter().map(stage).collect::<Vec<_>>(),
    })
}

fn stage(report: &StageReport) -> Value {
    json!({
        "stage": report.stage,
        "plugin": report.plugin,
        "version": report.version,
        "digest": &report.digest[..12],
        "outcome": report.outcome,
        "seconds": report.duration.as_secs_f64(),
        "initial": report.usage.initial,
        "high_water": report.usage.high_water,
    })
}
