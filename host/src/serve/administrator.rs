//! Authorization of administration requests: they need the token of [`Access`](super::access::Access). A request without
//! it is refused before its parameters and its body are read, and is counted and logged.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::app::App;
use super::client::Client;
use super::credentials::Failure;
use super::error::{ErrorKind, ServeError};

/// A request that may administrate.
#[derive(Debug, Clone, Copy)]
pub struct Administrator {
    /// How the request was authorized, for the audit log.
    pub by: &'static str,
}

impl Administrator {
    /// Checks that a request may administrate. `what` is its method and path.
    ///
    /// # Errors
    /// If the request may not administrate.
    pub fn check(app: &App, headers: &HeaderMap, client: &Client, what: &str) -> Result<Self, ServeError> {
        app.access
            .check(headers)
            .map_err(|failure| refused(app, "administration", failure, client, what, &app.access.refusal(failure)))?;
        Ok(Self { by: "token" })
    }
}

impl FromRequestParts<Arc<App>> for Administrator {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ServeError> {
        let what = format!("{} {}", parts.method, parts.uri.path());
        Self::check(app, &parts.headers, &Client::from_extensions(&parts.extensions), &what)
    }
}

/// A request of another server of the fleet, or of an administrator. It may only read the report of canaries.
#[derive(Debug, Clone, Copy)]
pub struct FleetMember;

impl FromRequestParts<Arc<App>> for FleetMember {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ServeError> {
        let checked = app.access.check_member(&parts.headers);
        let (client, what) =
            (Client::from_extensions(&parts.extensions), format!("{} {}", parts.method, parts.uri.path()));
        checked
            .map_err(|failure| refused(app, "administration", failure, &client, &what, &app.access.refusal(failure)))?;
        Ok(Self)
    }
}

/// Counts and logs a request whose credentials were refused, and returns its error.
pub(super) fn refused(
    app: &App,
    realm: &'static str,
    failure: Failure,
    client: &Client,
    what: &str,
    detail: &str,
) -> ServeError {
    app.failures.refused(realm, failure, client, what);
    ServeError::new(ErrorKind::Unauthorized, detail)
}
