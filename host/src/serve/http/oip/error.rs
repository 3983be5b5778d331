//! Errors in the format of the protocol: `{"error": "…"}`, the only member that its clients read, plus the members of
//! the problem (`problem.rs`).

use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::serve::error::ServeError;
use crate::serve::problem::{Problem, reply};

/// An error that is sent in the format of the protocol.
#[derive(Debug)]
pub(in crate::serve::http) struct OipError(pub(in crate::serve::http) ServeError);

/// The body of an error below `/v2`.
#[derive(Serialize)]
struct ErrorBody<'a> {
    /// The message.
    error: &'a str,
    #[serde(flatten)]
    problem: Problem<'a>,
}

impl<E: Into<ServeError>> From<E> for OipError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for OipError {
    #[expect(clippy::expect_used, reason = "the members are texts and numbers, which JSON has")]
    fn into_response(self) -> Response {
        let Self(error) = self;
        let body = ErrorBody { error: &error.detail, problem: Problem::from(&error) };
        let body = serde_json::to_vec(&body).expect("an error can always be written as JSON");
        reply(&error, "application/json", body)
    }
}

/// The reply to a request that was refused before its handler, in the format of the routes at `path`: the protocol's format
/// below `/v2`, a problem elsewhere.
pub(in crate::serve) fn error_reply(path: &str, error: ServeError) -> Response {
    match path == "/v2" || path.starts_with("/v2/") {
        true => OipError(error).into_response(),
        false => error.into_response(),
    }
}
