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
    fn into_response(self) -> Response {
        let Self(error) = self;
        let body = ErrorBody { error: &error.detail, problem: Problem::from(&error) };
        let body = serde_json::to_vec(&body).expect("an error is always valid JSON");
        reply(&error, "application/json", body)
    }
}
