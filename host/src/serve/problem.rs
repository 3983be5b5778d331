//! Converts a [`ServeError`] to an HTTP reply: its status, and a body in `application/problem+json` (RFC 9457). Only
//! this file maps an error to an HTTP status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorKind, ServeError};
use super::headers::REQUEST_ID;

/// The body of an error reply.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    status: u16,
    /// A fixed identifier of the error, by which clients distinguish errors.
    code: &'static str,
    title: &'static str,
    detail: &'a str,
    /// `preprocess`, `infer` or `postprocess`, or the name of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_water_bytes: Option<u64>,
    /// The image of a batch, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// The item for which the step failed, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<usize>,
    /// The request's id, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The status and the code of an error.
pub fn status(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_input"),
        ErrorKind::InvalidParameter => (StatusCode::BAD_REQUEST, "invalid_parameter"),
        ErrorKind::TensorMismatch => (StatusCode::BAD_REQUEST, "tensor_mismatch"),
        ErrorKind::UnsuitableForm => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_input"),
        ErrorKind::UnsupportedEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        ErrorKind::UnsupportedTransferCoding => (StatusCode::NOT_IMPLEMENTED, "unsupported_transfer_coding"),
        ErrorKind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        ErrorKind::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        ErrorKind::MisdirectedRequest => (StatusCode::MISDIRECTED_REQUEST, "misdirected_request"),
        ErrorKind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
        ErrorKind::PluginRejected => (StatusCode::UNPROCESSABLE_ENTITY, "plugin_refused"),
        ErrorKind::NotDurable => (StatusCode::INSUFFICIENT_STORAGE, "not_durable"),
        ErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        ErrorKind::CallerLimit(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        ErrorKind::QueueDeadline => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        ErrorKind::Stage(stage, outcome) => (stage_status(stage, outcome), stage_code(outcome)),
    }
}

fn stage_status(stage: StageKind, outcome: Outcome) -> StatusCode {
    match outcome {
        Outcome::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Outcome::InvalidInput => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        // In the preprocess stage, the input needs more memory than the cap. In later stages the deployment does.
        Outcome::MemoryLimit if stage == StageKind::Preprocess => StatusCode::PAYLOAD_TOO_LARGE,
        Outcome::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Outcome::NoCapacity | Outcome::DeviceFailure => StatusCode::SERVICE_UNAVAILABLE,
        Outcome::Ok
        | Outcome::Internal
        | Outcome::TensorMismatch
        | Outcome::OutputLimit
        | Outcome::MemoryLimit
        | Outcome::Trap
        | Outcome::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn stage_code(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NoCapacity => "overloaded",
        other => other.as_str(),
    }
}

impl<'a> From<&'a ServeError> for Problem<'a> {
    fn from(error: &'a ServeError) -> Self {
        let (status, code) = status(error.kind);
        let stage = error.location.as_deref().and_then(|location| location.stage.as_ref());
        Self {
            status: status.as_u16(),
            code,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: &error.detail,
            stage: stage.map(|stage| stage.stage.as_str()),
            plugin: stage.map(|stage| stage.plugin.as_str()),
            version: stage.map(|stage| stage.version.as_str()),
            limit_bytes: stage.and_then(|stage| stage.limit_bytes),
            high_water_bytes: stage.and_then(|stage| stage.high_water_bytes),
            index: error.location.as_deref().and_then(|location| location.index),
            item: error.location.as_deref().and_then(|location| location.item),
            request_id: error.request_id.as_deref(),
        }
    }
}

impl Problem<'_> {
    /// Returns the problem JSON of an error.
    pub fn json(error: &ServeError) -> Vec<u8> {
        Problem::from(error).to_json()
    }

    /// Returns the problem JSON of an error, with at most `longest` bytes of its text.
    pub fn json_with(error: &ServeError, longest: usize) -> Vec<u8> {
        let detail = &error.detail[..error.detail.floor_char_boundary(longest)];
        Problem { detail, ..Problem::from(error) }.to_json()
    }

    #[expect(clippy::expect_used, reason = "the members are texts and numbers, which JSON has")]
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem can always be written as JSON")
    }
}

/// Creates a reply with the status and the headers of an error.
pub fn reply(error: &ServeError, content_type: &'static str, body: Vec<u8>) -> Response {
    let (status, _) = status(error.kind);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    match error.kind {
        ErrorKind::CallerLimit(seconds) => drop(headers.insert(header::RETRY_AFTER, seconds.into())),
        _ if status == StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"plimsoll\""));
    }
    if let Some(id) = error.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        reply(&self, "application/problem+json", Problem::json(&self))
    }
}
