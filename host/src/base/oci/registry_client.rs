//! A client of one repository in a registry. `oci-client` is not used for the requests: it reads replies of any size, and
//! it panics on machines without CA certificates, which a registry on the same machine does not need.

use std::time::Duration;

use bytes::Bytes;
use oci_client::Reference;
use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope};
use oci_client::secrets::RegistryAuth;
use plimsoll_runtime::identity::digest;
use plimsoll_runtime::text::shortened;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::named_address::{NOT_USED, may_use, redirects};

type Failure = OciDistributionError;

/// Maximum bytes of a manifest, as the
/// [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests)
/// recommends for registries.
const MAX_MANIFEST: usize = 4 << 20;
/// Maximum bytes of the reply of a token service.
const MAX_TOKEN: usize = 1 << 20;
/// Maximum bytes of the message of an error that are read.
const MAX_MESSAGE: usize = 64 << 10;
/// The header with the digest of what the registry sends.
const DIGEST_HEADER: &str = "docker-content-digest";

/// Returns true if this machine has CA certificates, which HTTPS needs.
fn has_certificates() -> bool {
    reqwest::Client::builder().build().is_ok()
}

/// A client of one repository.
pub(super) struct RegistryClient {
    http: reqwest::Client,
    /// `https://REGISTRY/v2/`.
    api: String,
    repository: String,
    is_loopback: bool,
    /// What the registry demands with each request: the credentials, or a token for them.
    access: RegistryAuth,
}

impl RegistryClient {
    /// Creates a client that has not authenticated yet. A registry on this machine is used over plain HTTP.
    pub(super) fn new(
        image: &Reference,
        is_loopback: bool,
        connect_timeout: Duration,
        read_timeout: Option<Duration>,
    ) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .redirect(redirects(is_loopback))
            .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
        if is_loopback {
            // Plain HTTP must not leave this machine.
            builder = builder.no_proxy();
            if !has_certificates() {
                builder = builder.tls_certs_only([]);
            }
        }
        if let Some(timeout) = read_timeout {
            builder = builder.read_timeout(timeout);
        }
        let scheme = if is_loopback { "http" } else { "https" };
        Ok(Self {
            http: builder.build()?,
            api: format!("{scheme}://{}/v2/", image.resolve_registry()),
            repository: image.repository().to_owned(),
            is_loopback,
            access: RegistryAuth::Anonymous,
        })
    }

    /// Authenticates as the registry demands. `actions` is `pull` or `pull,push`.
    pub(super) async fn authenticate(&mut self, auth: &RegistryAuth, actions: &str) -> Result<(), Failure> {
        let asked = self.http.get(&self.api).send().await?;
        self.access = match (asked.status(), bearer_challenge(asked.headers())) {
            (StatusCode::UNAUTHORIZED, Some(challenge)) => self.token(&challenge, auth, actions).await?,
            _ => auth.clone(),
        };
        Ok(())
    }

    /// Returns the token that the service in the challenge gives for the credentials.
    async fn token(&self, challenge: &str, auth: &RegistryAuth, actions: &str) -> Result<RegistryAuth, Failure> {
        let named = parameter(challenge, "realm").unwrap_or_default();
        let realm: Url = named.parse().map_err(|_| {
            Failure::SpecViolationError(format!("the registry names no token service, but `{}`", shortened(&named)))
        })?;
        if !may_use(&realm, self.is_loopback) {
            let named = shortened(&named);
            let reason = format!("the token service `{named}` does not get the password: {NOT_USED}");
            return Err(Failure::SpecViolationError(reason));
        }
        let scope = format!("repository:{}:{actions}", self.repository);
        let mut query = vec![("scope", scope)];
        query.extend(parameter(challenge, "service").map(|service| ("service", service)));
        let reply = checked(with_access(self.http.get(realm).query(&query), auth).send().await?).await?;
        let (reply, true) = read_bounded(reply, MAX_TOKEN).await? else {
            return Err(Failure::SpecViolationError(format!(
                "the reply of the token service has more than {MAX_TOKEN} bytes, the most that is allowed"
            )));
        };
        let reply: serde_json::Value =
            serde_json::from_slice(&reply).map_err(|error| Failure::RegistryTokenDecodeError(error.to_string()))?;
        let token = reply["token"].as_str().or(reply["access_token"].as_str());
        let token = token
            .ok_or_else(|| Failure::AuthenticationFailure("the reply of the token service has no token".to_owned()))?;
        Ok(RegistryAuth::Bearer(token.to_owned()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        with_access(self.http.request(method, format!("{}{}/{path}", self.api, self.repository)), &self.access)
    }

    /// Returns the bytes of a manifest; `reference` is a tag or digest.
    pub(super) async fn manifest(&self, reference: &str, accepted: &[&str]) -> Result<Bytes, Failure> {
        let request = self.request(Method::GET, &format!("manifests/{reference}")).header(ACCEPT, accepted.join(", "));
        read_manifest(request.send().await?).await
    }

    /// Begins to read a blob.
    pub(super) async fn blob(&self, digest: &str) -> Result<Response, Failure> {
        checked(self.request(Method::GET, &format!("blobs/{digest}")).send().await?).await
    }

    /// Sends a blob in one request.
    pub(super) async fn push_blob(&self, bytes: Bytes, digest: &str) -> Result<(), Failure> {
        let begun =
            checked(self.request(Method::POST, "blobs/uploads/").header(CONTENT_LENGTH, 0).send().await?).await?;
        let location = begun.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A registry may return a path, or a whole URL.
        let location = begun.url().join(location).map_err(|error| Failure::UrlParseError(error.to_string()))?;
        if !may_use(&location, self.is_loopback) {
            let location = shortened(location.as_str());
            let reason = format!("the registry wants a blob at `{location}`, which does not get it: {NOT_USED}");
            return Err(Failure::SpecViolationError(reason));
        }
        // Credentials and tokens are for the registry alone.
        let is_own = Url::parse(&self.api).is_ok_and(|api| api.origin() == location.origin());
        let request = self.http.put(location).query(&[("digest", digest)]).body(bytes);
        let request = request.header(CONTENT_TYPE, "application/octet-stream");
        let request = if is_own { with_access(request, &self.access) } else { request };
        checked(request.send().await?).await.map(drop)
    }

    /// Sends a manifest.
    pub(super) async fn push_manifest(&self, reference: &str, bytes: Vec<u8>, kind: &str) -> Result<(), Failure> {
        let request = self.request(Method::PUT, &format!("manifests/{reference}"));
        checked(request.header(CONTENT_TYPE, kind).body(bytes).send().await?).await.map(drop)
    }
}

/// The challenge of the scheme `Bearer`, if a registry has one. It may have others beside it.
fn bearer_challenge(headers: &HeaderMap) -> Option<String> {
    const SCHEME: &str = "bearer ";
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    challenges.find_map(|challenges| {
        let at = challenges.to_ascii_lowercase().find(SCHEME)?;
        Some(challenges[at + SCHEME.len()..].to_owned())
    })
}

/// The value of a parameter of a challenge: `name="value", …`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut is_quoted = false;
    let parameters = challenge.split(|character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    });
    let mut values = parameters.filter_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    });
    values.next()
}

fn with_access(request: RequestBuilder, access: &RegistryAuth) -> RequestBuilder {
    match access {
        RegistryAuth::Anonymous => request,
        RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
        RegistryAuth::Bearer(token) => request.bearer_auth(token),
    }
}

/// Reads the manifest in a reply, and compares it with the digest that the registry declares.
async fn read_manifest(reply: Response) -> Result<Bytes, Failure> {
    let reply = checked(reply).await?;
    let declared = reply.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    match read_bounded(reply, MAX_MANIFEST).await? {
        (manifest, true) => {
            let actual = format!("sha256:{}", digest(&manifest));
            match declared.filter(|declared| declared.starts_with("sha256:") && *declared != actual) {
                Some(expected) => Err(Failure::DigestError(DigestError::VerificationError { expected, actual })),
                None => Ok(manifest.into()),
            }
        }
        (_, false) => Err(Failure::SpecViolationError(format!(
            "the manifest has more than {MAX_MANIFEST} bytes, the most that is allowed"
        ))),
    }
}

/// Reads at most `limit` bytes. The flag is false if there are more.
async fn read_bounded(mut reply: Response, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = reply.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            bytes.extend_from_slice(&chunk[..limit - bytes.len()]);
            return Ok((bytes, false));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, true))
}

/// Converts a reply that is an error to the errors of `oci-client`.
async fn checked(reply: Response) -> Result<Response, Failure> {
    let (status, url) = (reply.status(), reply.url().to_string());
    if status.is_success() {
        return Ok(reply);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(Failure::UnauthorizedError { url });
    }
    let message = String::from_utf8_lossy(&read_bounded(reply, MAX_MESSAGE).await?.0).into_owned();
    Err(match serde_json::from_str::<OciEnvelope>(&message) {
        Ok(envelope) => Failure::RegistryError { envelope, url },
        Err(_) => Failure::ServerError { code: status.as_u16(), url, message },
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn challenges_are_parsed() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        assert_eq!(bearer_challenge(&headers), None);
        let token = r#"bEARER realm="https://a.example/token?a=1,2",Service=registry, scope="x:pull,push""#;
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(token));
        let challenge = bearer_challenge(&headers).expect("a challenge");
        let values = ["realm", "service", "scope", "error"].map(|name| parameter(&challenge, name));
        let values = values.each_ref().map(Option::as_deref);
        assert_eq!(values, [Some("https://a.example/token?a=1,2"), Some("registry"), Some("x:pull,push"), None]);
    }
}
