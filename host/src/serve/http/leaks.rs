//! `GET /v1/leaks` and `/v1/leaks/{name}/{file}`: reports of the leak laboratory that were copied into the data folder.
//! They need the token of administration, because they name the inputs of callers.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use humantime_serde::re::humantime::format_rfc3339_seconds;
use plimsoll_runtime::text::shortened;
use serde_json::{Value, json};

use super::foreign::bytes_of_others;
use super::parameters::NoParameters;
use crate::records::leak_reports::{self, FOLDER, LeakReport};
use crate::records::time::representable;
use crate::serve::administrator::Administrator;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::Problem;
use crate::serve::{App, blocking};

/// Lists the reports of the leak laboratory in `leak-reports` of the data folder, the newest first, at most 100.
#[utoipa::path(get, operation_id = "leak_reports", path = "/v1/leaks", tag = "reports", security(("token" = [])),
               responses((status = 200, description = "The conclusions and the leaks", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Administrator,
    _: NoParameters,
) -> Result<Response, ServeError> {
    let folder = app.data_dir.join(FOLDER);
    let found = blocking::run(blocking::LARGE, move || leak_reports::list(&folder)).await;
    let reports: Vec<_> = found.map_err(|error| unreadable(&error))?.into_iter().map(shown).collect();
    Ok(Json(json!({ "folder": FOLDER, "reports": reports })).into_response())
}

/// Returns a file of a report.
#[utoipa::path(get, operation_id = "leak_report", path = "/v1/leaks/{name}/{file}", tag = "reports", security(("token" = [])),
               params(("name" = String, Path, description = "The report"),
                      ("file" = String, Path,
                       description = "`report.json`, `growth.svg`, `flame.svg`, `growth.csv` or `retention.dot`")),
               responses((status = 200, description = "The file", body = Vec<u8>,
                          content_type = "application/octet-stream"),
                         (status = "4XX", description = "There is no such file, or the token is missing", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn file(
    State(app): State<Arc<App>>,
    _: Administrator,
    names: Result<Path<(String, String)>, PathRejection>,
    _: NoParameters,
) -> Result<Response, ServeError> {
    let (name, file) = names.map_or_else(|_| Default::default(), |Path(names)| names);
    let shown = (shortened(&name), shortened(&file));
    let folder = app.data_dir.join(FOLDER);
    let found = blocking::run(blocking::LARGE, move || leak_reports::read(&folder, &name, &file)).await;
    let (name, file) = shown;
    let refused =
        |error: io::Error| ServeError::not_found(format!("`{file}` of the report `{name}` cannot be read: {error}"));
    let missing = || ServeError::not_found(format!("the report `{name}` has no file `{file}`"));
    found.map_err(refused)?.map(bytes_of_others).ok_or_else(missing)
}

fn shown(report: LeakReport) -> Value {
    let content = report.content.and_then(|content| serde_json::to_value(content).map_err(|error| error.to_string()));
    let mut shown = content.unwrap_or_else(|error| json!({ "error": error }));
    shown["name"] = report.name.into();
    shown["time"] = format_rfc3339_seconds(representable(report.at)).to_string().into();
    shown
}

fn unreadable(error: &io::Error) -> ServeError {
    ServeError::new(ErrorKind::Internal, format!("the folder `{FOLDER}` of the data folder cannot be read: {error}"))
}
