//! What happens to every request before it is routed: a request that no client may send is refused, slashes at the end
//! of the path are ignored, and the client is stored in the request.

use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, Request, Uri, Version, header};

use super::client::Client;
use super::credentials::check_single;
use super::error::ServeError;

/// Prepares a request for the router.
///
/// # Errors
/// If the request is refused.
pub(super) fn prepare<B>(request: &mut Request<B>, client: &Client) -> Result<(), ServeError> {
    request.extensions_mut().insert(client.clone());
    check_host(request.headers(), request.version())?;
    check_single(request.headers())?;
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
    let is_host = |host: &[u8]| host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok());
    if !is_host(host.as_bytes()) {
        return Err(ServeError::invalid("the header `Host` is not a host with an optional port"));
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
