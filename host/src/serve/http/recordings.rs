//! `GET /v1/recordings` and `/v1/recordings/{id}`: the inputs that pipelines have recorded. They need the token of
//! administration, because they are callers' images.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::text::shortened;
use serde_json::json;

use super::foreign::bytes_of_others;
use super::parameters::{NoParameters, Parameters};
use super::requests::limited;
use crate::records::recording::facts::Facts;
use crate::records::recording::store;
use crate::serve::administrator::Administrator;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::Problem;
use crate::serve::{App, blocking};

/// The most recordings in a reply.
const MOST: usize = 200;

/// Lists the recorded inputs, the newest first: `GET /v1/recordings?limit=…`.
#[utoipa::path(get, operation_id = "recordings", path = "/v1/recordings", tag = "reports", security(("token" = [])),
               params(("limit" = Option<usize>, Query, description = "The most recordings; default and maximum 200")),
               responses((status = 200, description = "The pipelines that record inputs, and the facts of the recordings", body = Object),
                         (status = "4XX", description = "Client error", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Administrator,
    parameters: Parameters,
) -> Result<Response, ServeError> {
    let [limit] = parameters.named(["limit"])?;
    let limit = limit.map_or(Ok(MOST), |text| limited(&text, MOST))?;
    let folders = folders(&app);
    let found = blocking::run(blocking::LARGE, move || {
        let mut found = BTreeMap::new();
        // A folder that cannot be read does not hide the recordings of the others.
        let list = |(pipeline, folder): (String, PathBuf)| {
            let mut shown =
                json!({ "pipeline": pipeline, "folder": std::path::absolute(&folder).unwrap_or(folder.clone()) });
            if let Err(error) = newest(&folder, limit, &mut found) {
                shown["error"] = format!("{} cannot be read: {error}", folder.display()).into();
            }
            shown
        };
        let pipelines: Vec<_> = folders.into_iter().map(list).collect();
        (pipelines, found)
    });
    let (pipelines, found) = found.await;
    // The names are UUIDs of version 7, which sort by time.
    let newest_first = found.into_iter().rev().take(limit);
    let recordings: Vec<_> = newest_first
        .map(|(id, (facts, size)): (String, (Facts, u64))| json!({ "id": id, "bytes": size, "facts": facts }))
        .collect();
    Ok(Json(json!({ "pipelines": pipelines, "recordings": recordings })).into_response())
}

/// Returns a recorded input, byte for byte. It is never shown by a browser as what its caller says that it is.
#[utoipa::path(get, operation_id = "recording", path = "/v1/recordings/{id}", tag = "reports", security(("token" = [])),
               params(("id" = String, Path, description = "The recording")),
               responses((status = 200, description = "The body of the request", body = Vec<u8>,
                          content_type = "application/octet-stream"),
                         (status = "4XX", description = "There is no such recording, or the token is missing",
                          body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    _: Administrator,
    id: Result<Path<String>, PathRejection>,
    _: NoParameters,
) -> Result<Response, ServeError> {
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let missing = || ServeError::not_found(format!("there is no recording `{}`; it may be removed", shortened(&id)));
    // The host names recordings by a UUID. Nothing else reaches the file system.
    let name = uuid::Uuid::try_parse(&id).map_err(|_| missing())?.hyphenated().to_string();
    let folders = folders(&app);
    let read = move || {
        // A folder that cannot be read does not hide a recording in another one.
        let mut failed = None;
        for (_, folder) in &folders {
            match store::read_body(folder, &name) {
                Ok(None) => {}
                Ok(Some(body)) => return Ok(Some(body)),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    };
    let body = blocking::run(blocking::LARGE, read).await.map_err(|error| unreadable(&error))?;
    body.map(bytes_of_others).ok_or_else(missing)
}

/// The pipelines that record inputs, with their folders. Pipelines may share a folder.
fn folders(app: &App) -> Vec<(String, PathBuf)> {
    let served = app.served().load();
    let pipelines = served.routes.values().map(|route| &route.stable);
    let recorded =
        pipelines.filter_map(|pipeline| Some((pipeline.name.clone(), pipeline.recorder.as_ref()?.rules.dir.clone())));
    recorded.collect()
}

/// Adds the newest recordings of a folder.
fn newest(folder: &FilePath, limit: usize, found: &mut BTreeMap<String, (Facts, u64)>) -> io::Result<()> {
    match store::newest(folder, limit) {
        Ok(recordings) => found.extend(recordings.into_iter().map(|(id, facts, size)| (id, (facts, size)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(io::Error::other("the folder does not exist any more; a restart of the server makes it again"));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn unreadable(error: &io::Error) -> ServeError {
    ServeError::new(ErrorKind::Internal, format!("the folder of recordings cannot be read: {error}"))
}
