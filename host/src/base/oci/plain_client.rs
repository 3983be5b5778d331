//! A client of registries on this machine over plain HTTP, for machines without CA certificates. `oci-client` cannot be
//! used there: it always creates a client for HTTPS too, which panics without certificates.

use std::time::Duration;

use bytes::Bytes;
use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope};
use oci_client::secrets::RegistryAuth;
use plimsoll_runtime::identity::digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::reference::{OciReference, is_loopback_host};

type Failure = OciDistributionError;

/// Maximum bytes of a manifest, as the
/// [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests)
/// recommends for registries.
const MAX_MANIFEST: usize = 4 << 20;
/// Maximum bytes of the message of an error that are read.
const MAX_MESSAGE: usize = 64 << 10;
/// The header with the digest of what the registry sends.
const DIGEST_HEADER: &str = "docker-content-digest";

/// Returns true if this machine has CA certificates, so that `oci-client` can be used.
pub(super) fn has_certificates() -> bool {
    reqwest::Client::builder().build().is_ok()
}

/// A client of one repository.
pub(super) struct PlainClient {
    http: reqwest::Client,
    /// `http://REGISTRY/v2/`.
    api: String,
    repository: String,
    access: RegistryAuth,
}

impl PlainClient {
    /// Creates a client that has no access yet.
    pub(super) fn new(
        reference: &OciReference,
        connect_timeout: Duration,
        read_timeout: Option<Duration>,
    ) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder().tls_certs_only([]).no_proxy().connect_timeout(connect_timeout);
        if let Some(timeout) = read_timeout {
            builder = builder.read_timeout(timeout);
        }
        Ok(Self {
            http: builder.build()?,
            api: format!("http://{}/v2/", reference.registry()),
            repository: reference.repository().to_owned(),
            access: RegistryAuth::Anonymous,
        })
    }

    /// Authenticates if the registry demands it. `actions` is `pull` or `pull,push`.
    pub(super) async fn authenticate(&mut self, auth: &RegistryAuth, actions: &str) -> Result<(), Failure> {
        let asked = self.http.get(&self.api).send().await?;
        if asked.status() == StatusCode::UNAUTHORIZED {
            let challenge = asked.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            let challenge = challenge.unwrap_or_default().to_owned();
            self.access = self.authorize(&challenge, auth, actions).await?;
        }
        Ok(())
    }

    /// What the registry's challenge asks for: the password itself, or a token for it.
    async fn authorize(&self, challenge: &str, auth: &RegistryAuth, actions: &str) -> Result<RegistryAuth, Failure> {
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(auth.clone());
        }
        let value = |name: &str| rest.split(',').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));
        let value = |name: &str| value(name).unwrap_or_default().trim_matches('"').to_owned();
        let realm: Url = value("realm").parse().map_err(|_| Failure::AuthenticationFailure(challenge.to_owned()))?;
        // The password must not leave this machine over plain HTTP.
        if !realm.host_str().is_some_and(is_loopback_host) {
            return Err(Failure::AuthenticationFailure(challenge.to_owned()));
        }
        let scope = format!("repository:{}:{actions}", self.repository);
        let request = self.http.get(realm).query(&[("service", value("service")), ("scope", scope)]);
        let reply: serde_json::Value = checked(with_access(request, auth).send().await?).await?.json().await?;
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
        let begun = checked(self.request(Method::POST, "blobs/uploads/").send().await?).await?;
        let location = begun.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A registry may return a path, or a whole URL.
        let location = begun.url().join(location).map_err(|error| Failure::UrlParseError(error.to_string()))?;
        let request = self.http.put(location).query(&[("digest", digest)]).body(bytes);
        let request = request.header(CONTENT_TYPE, "application/octet-stream");
        checked(with_access(request, &self.access).send().await?).await.map(drop)
    }

    /// Sends a manifest.
    pub(super) async fn push_manifest(&self, reference: &str, bytes: Vec<u8>, kind: &str) -> Result<(), Failure> {
        let request = self.request(Method::PUT, &format!("manifests/{reference}"));
        checked(request.header(CONTENT_TYPE, kind).body(bytes).send().await?).await.map(drop)
    }
}

pub(super) fn with_access(request: RequestBuilder, access: &RegistryAuth) -> RequestBuilder {
    match access {
        RegistryAuth::Anonymous => request,
        RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
        RegistryAuth::Bearer(token) => request.bearer_auth(token),
    }
}

/// Reads the manifest in a reply, and compares it with the digest that the registry declares.
pub(super) async fn read_manifest(reply: Response) -> Result<Bytes, Failure> {
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
