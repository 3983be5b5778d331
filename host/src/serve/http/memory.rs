//! `GET /v1/memory`, `/v1/memory/series` and `/v1/memory/compare`: the memory use of requests. These reports need the token of administration,
//! because they name all callers.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use serde::Serialize;

use super::parameters::{Parameters, wrong};
use crate::records::memory::compare::{Factor, UnknownFactor};
use crate::records::memory::history::History;
use crate::records::memory::report::Report;
use crate::records::memory::timeline::{Step, UnknownStep};
use crate::serve::App;
use crate::serve::administrator::Administrator;
use crate::serve::error::ServeError;
use crate::serve::load::Load;
use crate::serve::problem::Problem;

/// The report with what else a page of its reader shows.
#[derive(Serialize)]
struct FullReport {
    #[serde(flatten)]
    report: Report,
    /// The requests that run and wait now.
    load: Load,
    /// What happened when, if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<History>,
}

/// Reports the memory use of requests: `GET /v1/memory?pipeline=…&format=json|csv&series=…`.
#[utoipa::path(get, path = "/v1/memory", tag = "reports", security(("token" = [])),
               params(("pipeline" = Option<String>, Query, description = "Only this pipeline"),
                      ("format" = Option<String>, Query, description = "`json` or `csv`"),
                      ("series" = Option<String>, Query,
                       description = "`1s`, `1m` or `30m`: adds these points of `/v1/memory/series` as `series`")),
               responses((status = 200, description = "The memory report: high-water marks of the stages, models and callers",
                          content((Object = "application/json"), (String = "text/csv"))),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [pipeline, format, series] = parameters.named(["pipeline", "format", "series"])?;
    let pipeline = known_pipeline(&app, pipeline)?;
    let step = series.map(|step| known_step(&step)).transpose()?;
    if step.is_some() && format.as_deref() == Some("csv") {
        return Err(wrong("`series` is not part of `format=csv`; leave one of them out".to_owned()));
    }
    let (memory, now) = (&app.records.memory, Instant::now());
    let report = || memory.report(app.runtime.pool_usage(), pipeline.as_deref(), now);
    match format.as_deref() {
        None | Some("json") => {
            let series = step.map(|step| memory.history(pipeline.as_deref(), Some(step), now));
            Ok(Json(FullReport { report: report(), load: Load::of(&app.admission), series }).into_response())
        }
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

/// Reports what happened when: `GET /v1/memory/series?pipeline=…&step=1s|1m|30m`.
#[utoipa::path(get, path = "/v1/memory/series", tag = "reports", security(("token" = [])),
               params(("pipeline" = Option<String>, Query, description = "Only this pipeline"),
                      ("step" = Option<String>, Query,
                       description = "`1s` (the latest 60), `1m` (60) or `30m` (48); default all")),
               responses((status = 200, description = "High-water marks of each stage, and outcomes and times of requests",
                          body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn series(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [pipeline, step] = parameters.named(["pipeline", "step"])?;
    let pipeline = known_pipeline(&app, pipeline)?;
    let step = step.map(|step| known_step(&step)).transpose()?;
    Ok(Json(app.records.memory.history(pipeline.as_deref(), step, Instant::now())).into_response())
}

fn known_step(text: &str) -> Result<Step, ServeError> {
    text.parse().map_err(|error: UnknownStep| wrong(error.to_string()))
}

/// Returns the pipeline name after checking that the pipeline is served.
fn known_pipeline(app: &App, pipeline: Option<String>) -> Result<Option<String>, ServeError> {
    if let Some(name) = &pipeline {
        app.pipeline(name)?;
    }
    Ok(pipeline)
}
