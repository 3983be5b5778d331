//! The credentials of a request: the bearer token (RFC 6750) or the API key in its headers. gRPC has them as metadata.

use axum::http::{HeaderMap, HeaderName, header};
use subtle::ConstantTimeEq;

use super::error::ServeError;
use super::headers::text;

/// The header of an API key.
const API_KEY: &str = "x-api-key";

/// Why the credentials of a request were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The request has no credentials.
    Missing,
    /// The credentials are not known.
    Wrong,
    /// The request has two different credentials.
    Ambiguous,
}

impl Failure {
    /// The value of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Ambiguous => "ambiguous",
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

/// The token after `Authorization: Bearer`. The name of the scheme is case-insensitive (RFC 9110, section 11.1). An empty
/// token counts as none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.trim_start().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

/// The key of a caller: the value of `x-api-key`, or the bearer token; `None` if there is neither. An empty header counts
/// as none: some clients and proxies send it for a variable that is not set.
///
/// # Errors
/// If both are there and differ. This server and a proxy before it could use different ones.
pub(super) fn api_key(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let key = text(headers, API_KEY).map(str::trim).filter(|key| !key.is_empty());
    match (key, bearer(headers)) {
        (Some(key), Some(token)) if key != token => Err(Failure::Ambiguous),
        (key, token) => Ok(key.or(token)),
    }
}

/// The SHA-256 of a token or a key.
pub(super) type SecretHash = [u8; 32];

/// Compares the hashes of secrets. The time does not depend on where they differ.
pub(super) fn is_same(one: &SecretHash, other: &SecretHash) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_differ_in_any_bit_are_not_the_same() {
        let secret: SecretHash = std::array::from_fn(|at| at as u8);
        assert!(is_same(&secret, &secret.clone()));
        for bit in 0..256 {
            let mut other = secret;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_same(&secret, &other), "bit {bit}");
        }
    }

    #[test]
    fn an_empty_header_is_no_key_and_two_keys_are_refused() {
        let key = |headers: &[(&'static str, &str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value of a header")));
            api_key(&headers.collect()).map(|key| key.map(str::to_owned))
        };
        let (one, bearer) = (Ok(Some("one".to_owned())), ("authorization", "Bearer one"));
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[("x-api-key", " "), ("authorization", "Bearer ")]), Ok(None));
        assert_eq!(key(&[("x-api-key", "one")]), one);
        assert_eq!(key(&[("x-api-key", ""), bearer]), one);
        assert_eq!(key(&[("x-api-key", "one"), bearer]), one);
        assert_eq!(key(&[("x-api-key", "one"), ("authorization", "Bearer ")]), one);
        // A proxy may have its own credentials.
        assert_eq!(key(&[("x-api-key", "one"), ("authorization", "Basic dHdv")]), one);
        assert_eq!(key(&[("x-api-key", "two"), bearer]), Err(Failure::Ambiguous));
    }
}
