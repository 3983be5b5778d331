//! Administration: what is served, and the routes that change it.
//!
//! Reading is for everybody who reaches the port. Changing needs the bearer token (RFC 6750); without a token the
//! routes that change something exist only where the server listens on the loopback interface.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::app::App;
use crate::config::{self, Config, ConfigError};
use crate::deploy::manifest::Manifest;
use crate::deploy::{ChangeError, Deployed, Release, Source};
use crate::plugin::{Identity, check_name};

const TOKEN_VARIABLE: &str = "PLIMSOLL_ADMIN_TOKEN";
/// Shorter tokens can be guessed.
const MIN_TOKEN: usize = 16;

/// Who may change something over HTTP.
pub enum Access {
    /// Whoever has the token, of which this is the SHA-256.
    Token([u8; 32]),
    /// Whoever is on this machine: the server listens on the loopback interface.
    Loopback,
    /// Nobody: there is no token, and others could reach the port.
    Nobody,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "administration: by the bearer token",
            Self::Loopback => "administration: open to everybody on this machine, for there is no token",
            Self::Nobody => {
                "administration: off, for there is no token (`admin.token_file` or the variable PLIMSOLL_ADMIN_TOKEN) \
                 and the server does not listen on the loopback interface"
            }
        })
    }
}

impl Access {
    /// Reads the token that the configuration or the variable names.
    ///
    /// # Errors
    /// A file that cannot be read, or a token that is too short.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let told = |reason: String| ConfigError::new(&config.path, "admin.token_file", reason);
        let token = match &config.admin.token_file {
            Some(path) => {
                Some(String::from_utf8(config.read(path).map_err(told)?).map_err(|error| told(error.to_string()))?)
            }
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        match token.as_deref().map(str::trim) {
            Some(token) if token.len() < MIN_TOKEN => Err(told(format!(
                "the administration token has fewer than {MIN_TOKEN} characters, so it can be guessed"
            ))),
            Some(token) => Ok(Self::Token(Sha256::digest(token).into())),
            None if listens_on_loopback_only(&config.server) => Ok(Self::Loopback),
            None => Ok(Self::Nobody),
        }
    }

    /// Whether a request may change something; gives who it is, for the audit.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<&'static str, Box<Problem>> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        match self {
            Self::Token(expected) => {
                let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
                let digest: [u8; 32] = Sha256::digest(given.unwrap_or_default().trim()).into();
                // Digests are compared in constant time, so that the time says nothing of the token.
                if given.is_some() && bool::from(digest.ct_eq(expected)) {
                    return Ok("token");
                }
                let detail = "this route needs the header `Authorization: Bearer TOKEN` with the administration token";
                Err(Box::new(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)))
            }
            Self::Loopback => {
                // A web page that is open on this machine can send requests here, but not without naming itself.
                let host = text(header::HOST).map_or("", |host| host.rsplit_once(':').map_or(host, |(host, _)| host));
                let local = host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback);
                if headers.contains_key(header::ORIGIN) || !local {
                    let detail = "without a token this route is not for web pages, and only for `localhost`";
                    return Err(Box::new(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)));
                }
                Ok("loopback")
            }
            Self::Nobody => Err(Box::new(Problem::not_found(self.to_string()))),
        }
    }
}

fn listens_on_loopback_only(server: &config::Server) -> bool {
    server.listen.ip().is_loopback() && server.grpc_listen.is_none_or(|grpc| grpc.ip().is_loopback())
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}

/// `GET /v1/plugins`.
#[utoipa::path(get, path = "/v1/plugins", tag = "administration",
               responses((status = 200, description = "The plugins and their versions", body = Object)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    Json(json!({ "plugins": app.plugin_views() })).into_response()
}

/// `GET /v1/plugins/{name}`.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "administration",
               params(("name" = String, Path, description = "The plugin")),
               responses((status = 200, description = "The plugin and its versions", body = Object),
                         (status = 404, description = "There is none", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.plugin_views().into_iter().find(|view| view.name == name) {
        Some(view) => Json(view).into_response(),
        None => Problem::not_found(format!("there is no plugin `{name}`")).into_response(),
    }
}

/// Query of `PUT`.
#[derive(Debug, Deserialize)]
pub(super) struct Put {
    /// The digest that the body must have.
    sha256: Option<String>,
    /// The version, where the component does not say or something else is to be said.
    version: Option<String>,
}

/// `PUT /v1/plugins/{name}`: deploys the component in the body, and answers when it serves or is refused.
#[utoipa::path(put, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("sha256" = Option<String>, Query, description = "The digest that the body must have"),
                      ("version" = Option<String>, Query, description = "The version")),
               request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component"),
               responses((status = 200, description = "Where it stands now", body = Object),
                         (status = "4XX", description = "Refused", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<Put>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let by = app.access.check(&headers).map_err(|problem| *problem)?;
    let unfit = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "plugin_refused", detail);
    check_name(&name).map_err(unfit)?;
    let limit = Arc::clone(&app).change(async |_, deployer| deployer.config().deploy.max_plugin.as_u64()).await;
    let bytes = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX)).await.map_err(|error| {
        let detail =
            format!("the component did not come whole, or has more than {limit} bytes (`deploy.max_plugin`): {error}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    let manifest = Manifest { sha256: query.sha256, path: "the request".into(), ..Manifest::default() };
    let release = Release::new(&name, query.version.as_deref(), bytes, manifest, Source::Http);
    release.manifest.check_digest(&release.artifact.identity.digest).map_err(unfit)?;
    let identity = release.artifact.identity.clone();
    let deployed = app.change(async move |app, deployer| deployer.deploy(app, release, by).await).await?;
    Ok(stands(&identity, deployed))
}

/// `DELETE /v1/plugins/{name}`.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin")),
               responses((status = 200, description = "It is retired", body = Object),
                         (status = "4XX", description = "Refused", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let by = app.access.check(&headers).map_err(|problem| *problem)?;
    let retired = name.clone();
    app.change(async move |app, deployer| deployer.retire(app, &retired, by)).await?;
    Ok(Json(json!({ "name": name, "state": "retired" })).into_response())
}

/// Query of `rollback`.
#[derive(Debug, Deserialize)]
pub(super) struct Rollback {
    /// The version, or the beginning of the digest; default the latest previous one.
    to: Option<String>,
}

/// `POST /v1/plugins/{name}/rollback`.
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "administration", security(("token" = [])),
               params(("name" = String, Path, description = "The plugin"),
                      ("to" = Option<String>, Query, description = "A version, or the beginning of its digest")),
               responses((status = 200, description = "Where it stands now", body = Object),
                         (status = "4XX", description = "Refused", body = Problem,
                          content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<Rollback>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let by = app.access.check(&headers).map_err(|problem| *problem)?;
    let identity =
        app.change(async move |app, deployer| deployer.rollback(app, &name, query.to.as_deref(), by).await).await?;
    Ok(stands(&identity, Deployed::Serving))
}

/// What a change answers: the version, and where it stands now.
fn stands(identity: &Identity, state: Deployed) -> Response {
    let Identity { name, version, digest } = identity;
    Json(json!({ "name": name, "version": version, "digest": digest, "state": state })).into_response()
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let (status, code) = match &error {
            ChangeError::Refused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "plugin_refused"),
            ChangeError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            ChangeError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
        };
        Self::new(status, code, error.to_string())
    }
}
