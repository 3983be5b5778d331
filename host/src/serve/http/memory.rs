//! `GET /v1/memory` and `/v1/memory/compare`: the memory use of requests. These reports need the token of administration,
//! because they name all callers.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::parameters::Parameters;
use crate::records::memory::compare::{Factor, UnknownFactor};
use crate::serve::App;
use crate::serve::administrator::Administrator;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::Problem;

/// Reports the memory use of requests: `GET /v1/memory?pipeline=…&format=json|csv`.
#[utoipa::path(get, path = "/v1/memory", tag = "reports", security(("token" = [])),
               params(("pipeline" = Option<String>, Query, description = "Only this pipeline"),
                      ("format" = Option<String>, Query, description = "`json` or `csv`")),
               responses((status = 200, description = "The memory report: high-water marks of the stages, models and callers",
                          content((Object = "application/json"), (String = "text/csv"))),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [pipeline, format] = parameters.named(["pipeline", "format"])?;
    let pipeline = known_pipeline(&app, pipeline)?;
    let report = || app.records.memory.report(app.runtime.pool_usage(), pipeline.as_deref(), Instant::now());
    match format.as_deref() {
        None | Some("json") => Ok(Json(report()).into_response()),
        Some("csv") => Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], report().csv()).into_response()),
        Some(other) => Err(wrong(format!("`format={other}` is not a format of the report; use `json` or `csv`"))),
    }
}

/// Compares the memory use of groups of requests:
/// `GET /v1/memory/compare?by=chip|version|caller|outcome&pipeline=…`.
#[utoipa::path(get, path = "/v1/memory/compare", tag = "reports", security(("token" = [])),
               params(("by" = String, Query, description = "`chip`, `version`, `caller` or `outcome`"),
                      ("pipeline" = Option<String>, Query, description = "Only this pipeline")),
               responses((status = 200, description = "The standardised differences between the groups", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn compare(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [by, pipeline] = parameters.named(["by", "pipeline"])?;
    let by = by.ok_or_else(|| {
        wrong("the parameter `by` is missing; add `?by=` with one of `chip`, `version`, `caller` and `outcome`")
    })?;
    let by: Factor = by.parse().map_err(|error: UnknownFactor| wrong(error.to_string()))?;
    let pipeline = known_pipeline(&app, pipeline)?;
    Ok(Json(app.records.memory.compare(by, pipeline.as_deref())).into_response())
}

/// Returns the pipeline name after checking that the pipeline is served.
fn known_pipeline(app: &App, pipeline: Option<String>) -> Result<Option<String>, ServeError> {
    if let Some(name) = &pipeline {
        app.pipeline(name)?;
    }
    Ok(pipeline)
}

fn wrong(detail: impl Into<String>) -> ServeError {
    ServeError::new(ErrorKind::InvalidParameter, detail)
}
