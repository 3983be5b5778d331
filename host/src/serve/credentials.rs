//! The credentials of a request: the bearer token (RFC 6750) or the API key in its headers. gRPC has them as metadata.

use axum::http::{HeaderMap, header};

use super::headers::text;

/// The header of an API key.
const API_KEY: &str = "x-api-key";

/// Why the credentials of a request were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There are none.
    Missing,
    /// They are not known.
    Wrong,
}

impl Failure {
    /// The value of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
        }
    }
}

/// The token after `Authorization: Bearer`. The name of the scheme is case-insensitive (RFC 9110, section 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.trim_start().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The key of a caller: the value of `x-api-key`, or else the bearer token.
pub(super) fn api_key(headers: &HeaderMap) -> Option<&str> {
    text(headers, API_KEY).map(str::trim).or_else(|| bearer(headers))
}
