//! The console: a page for the people who operate the server. The files of `host/ui` are part of the binary, and load
//! nothing from elsewhere. They are the same for everybody and have no data; what the page shows comes from the routes that
//! it calls, and these check the token or the key as for every other client.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::NoParameters;
use crate::serve::App;
use crate::serve::error::ServeError;

/// Only files of this server, and nothing inline. Nothing may show the page in a frame. Text of the server cannot become
/// HTML: no code of the page may assign HTML at all (`require-trusted-types-for`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// The page, and the names of its files with their contents.
const PAGE: &str = include_str!("../../../ui/index.html");

macro_rules! files {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("../../../ui/", $name)))),+] };
}

const FILES: &[(&str, &str)] = &files![
    "api.js",
    "app.js",
    "charts.js",
    "compare.js",
    "deployments.js",
    "dom.js",
    "format.js",
    "icon.svg",
    "masks.js",
    "overview.js",
    "recordings.js",
    "reference.js",
    "requests.js",
    "retention.js",
    "snippets.js",
    "style.css",
    "try.js",
    "try-compare.js",
    "try-result.js",
];

/// The routes of the console.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(page)).routes(routes!(other_name)).routes(routes!(file))
}

/// Returns the console.
#[utoipa::path(get, operation_id = "console", path = "/", tag = "console",
               responses((status = 200, description = "The page", body = String, content_type = "text/html"),
                         (status = 404, description = "Administration is closed")))]
async fn page(State(app): State<Arc<App>>) -> Result<Response, ServeError> {
    // Parameters are ignored: links from elsewhere may have some.
    reply(&app, "text/html; charset=utf-8", PAGE)
}

/// Leads to the console.
#[utoipa::path(get, operation_id = "console_other_name", path = "/console", tag = "console",
               responses((status = 308, description = "The console is at `/`")))]
async fn other_name() -> Redirect {
    Redirect::permanent("/")
}

/// Returns a file of the console.
#[utoipa::path(get, operation_id = "console_file", path = "/console/{file}", tag = "console",
               params(("file" = String, Path, description = "The file")),
               responses((status = 200, description = "The file", body = String),
                         (status = 404, description = "There is no such file, or administration is closed")))]
async fn file(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    _: NoParameters,
) -> Result<Response, ServeError> {
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let found = FILES.iter().find(|(known, _)| *known == name);
    let (name, text) = found.ok_or_else(|| ServeError::not_found("the console has no such file"))?;
    let content_type = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    reply(&app, content_type, text)
}

/// Without a token nobody can administrate, so the page would be of no use.
fn reply(app: &App, content_type: &'static str, text: &'static str) -> Result<Response, ServeError> {
    if !app.access.is_open() {
        return Err(ServeError::not_found(
            "the console is not served while administration is closed: the server has no token; its log says why",
        ));
    }
    let mut response = text.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages of other origins get no reference to the window, and cannot load the files.
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}
