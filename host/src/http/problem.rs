//! Errors as RFC 9457 `application/problem+json`: the only place where an outcome becomes a status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::pipeline::Failed;
use crate::stage::Outcome;

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    #[schema(ignore)]
    http: StatusCode,
    status: u16,
    /// The outcome's or error's word; clients decide by it.
    pub code: &'static str,
    title: &'static str,
    detail: String,
    /// Apart, so that a `Result` with a problem stays small.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    at: Option<Box<At>>,
    /// The request's id, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Where it happened.
#[derive(Debug, Default, Serialize, ToSchema)]
struct At {
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_water_bytes: Option<u64>,
    /// Which image of a batch it was, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

impl Problem {
    /// A problem that no stage is part of.
    pub fn new(http: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            http,
            status: http.as_u16(),
            code,
            title: http.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            at: None,
            request_id: None,
        }
    }

    /// 404: there is no such pipeline, chip, plugin or route.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 503 with `Retry-After`.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    /// 504 before any stage began.
    pub fn deadline(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline", detail)
    }

    /// The stage that had no answer; `high_water` are its bytes of linear memory.
    pub fn from_stage(failed: &Failed<'_>, high_water: u64) -> Self {
        let Failed { stage, error } = failed;
        let status = match error.outcome {
            Outcome::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Outcome::InvalidInput => StatusCode::UNPROCESSABLE_ENTITY,
            Outcome::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            // In preprocessing it is the input that needs more than the cap; later it is the deployment.
            Outcome::MemoryLimit if stage.name == "preprocess" => StatusCode::PAYLOAD_TOO_LARGE,
            Outcome::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Outcome::NoCapacity => StatusCode::SERVICE_UNAVAILABLE,
            Outcome::Ok
            | Outcome::Internal
            | Outcome::TensorMismatch
            | Outcome::OutputLimit
            | Outcome::MemoryLimit
            | Outcome::Trap
            | Outcome::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = if error.outcome == Outcome::NoCapacity { "overloaded" } else { error.outcome.as_str() };
        let at = At {
            stage: Some(stage.name),
            plugin: Some(stage.plugin.name.to_string()),
            version: Some(stage.plugin.version.to_string()),
            limit_bytes: error.limit,
            high_water_bytes: error.limit.map(|_| high_water),
            index: None,
        };
        Self { at: Some(Box::new(at)), ..Self::new(status, code, error.public.clone()) }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.http
    }

    /// The sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same as the caller's mistake.
    #[must_use]
    pub fn bad_request(mut self) -> Self {
        let status = StatusCode::BAD_REQUEST;
        (self.http, self.status, self.title) = (status, status.as_u16(), "Bad Request");
        self
    }

    /// Says first of what it is told.
    #[must_use]
    pub fn prefixed(mut self, what: &str) -> Self {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    /// Adds which image of a batch it was.
    #[must_use]
    pub fn with_index(mut self, index: usize) -> Self {
        self.at.get_or_insert_default().index = Some(index);
        self
    }

    /// Adds the request's id.
    #[must_use]
    pub fn of_request(mut self, id: &str) -> Self {
        self.request_id = Some(id.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("strings and numbers");
        let mut response = (self.http, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.http == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(id) = self.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("x-request-id", id);
        }
        response
    }
}
