//! Bytes that somebody else chose: callers and plugins. A browser must neither run nor show them in the name of this server,
//! which has the console.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// A reply with bytes that are only to be stored.
pub(super) fn bytes_of_others(bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    forbid_scripts(headers);
    response
}

/// A form of another site can send a request, and a plugin may return HTML with the words of the caller.
pub(super) fn forbid_scripts(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
}
