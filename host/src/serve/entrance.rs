//! What happens to every request before it is routed: a request that no client may send is refused, slashes at the end
//! of the path are ignored, and the client is stored in the request.
//!
//! hyper refuses what it cannot parse (400, without a body): folded lines, spaces before the colon, lone carriage
//! returns, lengths that are not numbers or differ, transfer codings that do not end in `chunked`. If a request has both
//! `Transfer-Encoding` and `Content-Length`, hyper reads it by the former alone, hides the latter and closes the
//! connection after the reply, as RFC 9112 (section 6.3) allows: what follows the body is never read as a request.

use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, Request, Uri, Version, header};
use plimsoll_runtime::text::shortened;

use super::client::Client;
use super::credentials::check_single;
use super::error::{ErrorKind, ServeError};
use super::hosts::Hosts;

/// Prepares a request for the router. `hosts` are the hosts that it may name; `None` if it may name any.
///
/// # Errors
/// If the request is refused.
pub(super) fn prepare<B>(request: &mut Request<B>, client: &Client, hosts: Option<&Hosts>) -> Result<(), ServeError> {
    request.extensions_mut().insert(client.clone());
    check_host(request.headers(), request.version())?;
    if request.version() <= Version::HTTP_11 {
        check_transfer_encoding(request.headers())?;
    }
    check_single(request.headers())?;
    hosts.map_or(Ok(()), |hosts| hosts.check(request))?;
    if let Some(uri) = without_slashes(request.uri()) {
        *request.uri_mut() = uri;
    }
    Ok(())
}

/// Checks the header `Host` (RFC 9112, section 3.2). HTTP/1.0 may omit it.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), ServeError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return match version {
            Version::HTTP_11 => {
                Err(ServeError::invalid("the header `Host` is missing; every request of HTTP/1.1 must have it"))
            }
            _ => Ok(()),
        };
    };
    if hosts.next().is_some() {
        return Err(ServeError::invalid("the header `Host` is given more than once"));
    }
    if !is_host(host.as_bytes()) {
        return Err(ServeError::invalid("the header `Host` is not a host with an optional port"));
    }
    Ok(())
}

/// Returns true if a header `Host` is empty, or a host with an optional port.
fn is_host(host: &[u8]) -> bool {
    if host.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(host) else { return false };
    // `Authority` takes any text as the port. An empty one is allowed (RFC 3986, section 3.2.3).
    let Some(rest) = authority.as_str().strip_prefix(authority.host()) else { return false };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    matches!(rest, "" | ":") || rest.strip_prefix(':').is_some_and(is_port)
}

/// Checks the header `Transfer-Encoding` (RFC 9112, section 6.1). hyper removes one `chunked` at the end. A body with any
/// other coding would be read as something that the client did not mean; and a proxy that understands the header in
/// another way would disagree about where the request ends.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), ServeError> {
    let values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut count = 0;
    if let Some(other) = codings.inspect(|_| count += 1).find(|coding| !is_chunked(coding)) {
        let other = shortened(&String::from_utf8_lossy(other));
        return Err(ServeError::new(
            ErrorKind::UnsupportedTransferCoding,
            format!("the transfer coding `{other}` is not supported; send `Transfer-Encoding: chunked` alone"),
        ));
    }
    if count > 1 {
        return Err(ServeError::invalid("the transfer coding `chunked` is given more than once"));
    }
    Ok(())
}

/// The address without slashes at the end of its path. `None` if there are none, which is the usual case.
fn without_slashes(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if path.len() < 2 || !path.ends_with('/') {
        return None;
    }
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    let path = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_user_and_its_port_is_a_number() {
        for host in ["", "a", "a.b:80", "a:", "127.0.0.1:65535", "[::1]", "[::1]:8080", "A_b-c"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in
            ["a:b", "a:80x", "a:+80", "a:65536", "a@b", "a@a", "a@a:80", "a, b", "a b", "[::1]x", "[::1]:x", ":80x"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn slashes_at_the_end_are_ignored() {
        let shown = |uri: &str| without_slashes(&uri.parse().expect("a URI")).map(|uri| uri.to_string());
        assert_eq!(shown("/v2/"), Some("/v2".into()));
        assert_eq!(shown("/v2///?a=/"), Some("/v2?a=/".into()));
        assert_eq!(shown("http://host:1/v2/"), Some("http://host:1/v2".into()));
        assert_eq!(shown("//"), Some("/".into()));
        for unchanged in ["/", "/v2", "/v2?a=b/", "*"] {
            assert_eq!(shown(unchanged), None, "{unchanged}");
        }
    }
}
