//! Errors as the protocol has them: `{"error": "…"}`, which is all that its clients read, with the members of the
//! problem (`http/problem.rs`) beside it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::problem::Problem;

/// A problem that is answered in the protocol's form.
#[derive(Debug)]
pub(in crate::http) struct Error(pub(in crate::http) Problem);

/// The body of an error below `/v2`.
#[derive(Serialize)]
pub(in crate::http) struct ErrorBody<'a> {
    /// The sentence.
    error: &'a str,
    #[serde(flatten)]
    problem: &'a Problem,
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let body = ErrorBody { error: problem.detail(), problem: &problem };
        let body = serde_json::to_vec(&body).expect("strings and numbers");
        let mut response = (problem.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(id) = problem.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("x-request-id", id);
        }
        response
    }
}
