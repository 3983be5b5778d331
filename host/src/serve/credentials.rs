//! The credentials of a request: the bearer token (RFC 6750) or the API key in its headers. gRPC has them as metadata.

use axum::http::{HeaderMap, HeaderName, header};

use super::error::ServeError;
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

/// Checks that each header of credentials is given once. Otherwise this server and a proxy before it could use
/// different values.
///
/// # Errors
/// If one is repeated. The message names it.
pub(super) fn check_single(headers: &HeaderMap) -> Result<(), ServeError> {
    let is_repeated = |name: HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if is_repeated(header::AUTHORIZATION) {
        return Err(ServeError::invalid("the header `Authorization` is given more than once; send it once"));
    }
    if is_repeated(HeaderName::from_static(API_KEY)) {
        return Err(ServeError::invalid("the header `x-api-key` is given more than once; send it once"));
    }
    Ok(())
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
