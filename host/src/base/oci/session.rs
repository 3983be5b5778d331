//! The requests to one registry for one artifact.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use plimsoll_runtime::identity::digest;
use reqwest::header::HeaderValue;

use super::credentials::Credentials;
use super::error::OciError;
use super::explain::{CONNECT_TIMEOUT, SILENCE_TIMEOUT, cause, explain, failed, mismatch};
use super::layout;
use super::plain_client::{PlainClient, has_certificates, read_manifest, with_access};
use super::reference::OciReference;

/// The names of this machine, in the format of the client's list of hosts that bypass the proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Media types of manifests that are requested. They include types that are rejected later, so that the message can say
/// why.
const MANIFESTS: [&str; 4] =
    [layout::MANIFEST, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// The bytes of a blob.
type BlobStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The library that sends the requests.
enum Transport {
    Oci(Box<Client>),
    /// For a registry on this machine, if there are no CA certificates.
    Plain(PlainClient),
}

/// A client of one registry for one reference.
pub(super) struct Session<'a> {
    transport: Transport,
    reference: &'a OciReference,
    credentials: Credentials,
    /// What the registry demands with each request: the credentials, or a token for them.
    access: RegistryAuth,
}

impl<'a> Session<'a> {
    /// Connects and authenticates.
    pub(super) async fn open(
        reference: &'a OciReference,
        credentials: Credentials,
        operation: RegistryOperation,
    ) -> Result<Self, OciError> {
        let loopback = reference.is_loopback();
        let access = credentials.auth.clone();
        // No read time-out for a push: the registry sends nothing while it receives a blob.
        let is_pull = matches!(operation, RegistryOperation::Pull);
        let read_timeout = is_pull.then_some(SILENCE_TIMEOUT);
        if loopback && !has_certificates() {
            let client = PlainClient::new(reference, CONNECT_TIMEOUT, read_timeout);
            let client = client.map_err(|error| failed(reference, &error.to_string()))?;
            let mut session = Self { transport: Transport::Plain(client), reference, credentials, access };
            session.authenticate(operation).await?;
            return Ok(session);
        }
        let config = ClientConfig {
            protocol: if loopback { ClientProtocol::Http } else { ClientProtocol::Https },
            // Plain HTTP must not leave this machine. The client would use the proxy from the environment unless
            // another one is set. So a dummy proxy is set, and all names of this machine bypass it.
            http_proxy: loopback.then(|| "http://localhost".to_owned()),
            no_proxy: loopback.then(|| LOOPBACK.to_owned()),
            // Sends each blob in one request, because some registries reject chunks as small as the client's.
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout,
            user_agent: concat!("plimsoll/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let failed = |error| {
            let reason =
                format!("cannot create an HTTPS client; check that CA certificates are installed ({})", cause(&error));
            failed(reference, &reason)
        };
        // `Client::new` is not used, because it silently ignores a configuration that cannot be used.
        let client = Client::try_from(config).map_err(failed)?;
        let mut session = Self { transport: Transport::Oci(Box::new(client)), reference, credentials, access };
        session.authenticate(operation).await?;
        Ok(session)
    }

    /// Authenticates. `oci-client` would do it later by itself, but then it would not report the errors.
    async fn authenticate(&mut self, operation: RegistryOperation) -> Result<(), OciError> {
        let image = self.image();
        let authenticated = match &mut self.transport {
            Transport::Oci(client) => client.auth(&image, &self.credentials.auth, operation).await.map(|token| {
                self.access = token.map_or_else(|| self.access.clone(), RegistryAuth::Bearer);
            }),
            Transport::Plain(client) => {
                let actions = if matches!(operation, RegistryOperation::Pull) { "pull" } else { "pull,push" };
                client.authenticate(&self.credentials.auth, actions).await
            }
        };
        authenticated.map_err(|error| self.explain(error))
    }

    fn image(&self) -> Reference {
        let (registry, repository) = (self.reference.registry().to_owned(), self.reference.repository().to_owned());
        match (self.reference.digest(), self.reference.tag()) {
            // The digest alone identifies the manifest, even if the tag has moved since.
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_owned()),
            (None, tag) => Reference::with_tag(registry, repository, tag.unwrap_or_default().to_owned()),
        }
    }

    /// Pulls the manifest. Returns its bytes and their digest, which equals the digest of the reference if it has one.
    pub(super) async fn manifest(&self) -> Result<(Bytes, String), OciError> {
        let manifest = match self.raw_manifest(&self.image()).await {
            Ok(manifest) => manifest,
            Err(error) if is_unknown(&error) => return Err(self.unknown().await),
            Err(OciDistributionError::DigestError(DigestError::VerificationError { expected, actual })) => {
                return Err(self.mismatch("the manifest", expected, actual));
            }
            Err(error) => return Err(self.explain(error)),
        };
        let found = format!("sha256:{}", digest(&manifest));
        match self.reference.digest() {
            Some(expected) if expected != found => Err(self.mismatch("the manifest", expected.to_owned(), found)),
            _ => Ok((manifest, found)),
        }
    }

    async fn raw_manifest(&self, image: &Reference) -> Result<Bytes, OciDistributionError> {
        let name = image.digest().or(image.tag()).unwrap_or_default();
        match &self.transport {
            // `oci-client` would read a manifest of any size.
            Transport::Oci(_) => {
                let mut http = reqwest::Client::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .read_timeout(SILENCE_TIMEOUT)
                    .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
                let scheme = if self.reference.is_loopback() { "http" } else { "https" };
                if self.reference.is_loopback() {
                    // Plain HTTP must not leave this machine.
                    http = http.no_proxy();
                }
                let (registry, repository) = (image.resolve_registry(), image.repository());
                let url = format!("{scheme}://{registry}/v2/{repository}/manifests/{name}");
                let request = http.build()?.get(url).header("accept", MANIFESTS.join(", "));
                read_manifest(with_access(request, &self.access).send().await?).await
            }
            Transport::Plain(client) => client.manifest(name, &MANIFESTS).await,
        }
    }

    /// The error for a manifest that the registry does not have. If the tag refers to another digest than the
    /// reference, the error is that mismatch.
    async fn unknown(&self) -> OciError {
        if let (Some(tag), Some(expected)) = (self.reference.tag(), self.reference.digest()) {
            let (registry, repository) = (self.reference.registry(), self.reference.repository());
            let tagged = Reference::with_tag(registry.to_owned(), repository.to_owned(), tag.to_owned());
            if let Ok(manifest) = self.raw_manifest(&tagged).await {
                let found = format!("sha256:{}", digest(&manifest));
                return self.mismatch("the manifest of the tag", expected.to_owned(), found);
            }
        }
        let registry = self.reference.registry().to_owned();
        OciError::Unknown { reference: self.reference.to_string(), registry }
    }

    /// Pulls the component. Its size and digest are those that the manifest declares.
    pub(super) async fn component(&self, layer: &layout::Layer) -> Result<Vec<u8>, OciError> {
        // Only the digest is used. A manifest may also list URLs for a layer, and with them it could make the host send
        // requests to any address.
        let stream = self.blob(&layer.digest).await;
        let mut stream = stream.map_err(|error| self.explain(error))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.explain(OciDistributionError::IoError(error)))?;
            if (bytes.len() + chunk.len()) as u64 > layer.size {
                return Err(self.wrong_size("more", layer.size));
            }
            bytes.extend_from_slice(&chunk);
        }
        // The client checks this digest, too.
        let found = format!("sha256:{}", digest(&bytes));
        if found != layer.digest {
            return Err(self.mismatch("the component", layer.digest.clone(), found));
        }
        if (bytes.len() as u64) < layer.size {
            return Err(self.wrong_size("less", layer.size));
        }
        Ok(bytes)
    }

    /// The bytes of a blob as they come.
    async fn blob(&self, digest: &str) -> Result<BlobStream, OciDistributionError> {
        Ok(match &self.transport {
            Transport::Oci(client) => Box::pin(client.pull_blob_stream(&self.image(), digest).await?),
            Transport::Plain(client) => {
                let reply = client.blob(digest).await?;
                Box::pin(futures_util::stream::try_unfold(reply, async |mut reply| {
                    let chunk = reply.chunk().await.map_err(io::Error::other)?;
                    Ok(chunk.map(|chunk| (chunk, reply)))
                }))
            }
        })
    }

    /// Pushes the parts of an artifact, the manifest last. Returns the manifest's digest.
    pub(super) async fn push(&self, component: Bytes, config: Vec<u8>, manifest: Vec<u8>) -> Result<String, OciError> {
        let image = self.image();
        for blob in [component, config.into()] {
            let name = format!("sha256:{}", digest(&blob));
            let pushed = match &self.transport {
                Transport::Oci(client) => client.push_blob(&image, blob, &name).await.map(drop),
                Transport::Plain(client) => client.push_blob(blob, &name).await,
            };
            pushed.map_err(|error| self.explain(error))?;
        }
        let name = format!("sha256:{}", digest(&manifest));
        let pushed = match &self.transport {
            Transport::Oci(client) => {
                let media_type = HeaderValue::from_static(layout::MANIFEST);
                client.push_manifest_raw(&image, manifest, media_type).await.map(drop)
            }
            Transport::Plain(client) => {
                client.push_manifest(image.tag().unwrap_or_default(), manifest, layout::MANIFEST).await
            }
        };
        pushed.map_err(|error| self.explain(error))?;
        Ok(name)
    }

    fn mismatch(&self, what: &'static str, expected: String, found: String) -> OciError {
        mismatch(self.reference, what, expected, found)
    }

    fn wrong_size(&self, more_or_less: &str, size: u64) -> OciError {
        failed(
            self.reference,
            &format!("the component has {more_or_less} than the {size} bytes that its manifest declares"),
        )
    }

    fn explain(&self, error: OciDistributionError) -> OciError {
        explain(self.reference, self.credentials.origin, error)
    }
}

/// Returns true if the registry reports that it does not have the manifest.
fn is_unknown(error: &OciDistributionError) -> bool {
    use OciErrorCode::{ManifestUnknown, NameUnknown, NotFound};
    match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| matches!(error.code, ManifestUnknown | NameUnknown | NotFound))
        }
        OciDistributionError::ServerError { code, .. } => *code == 404,
        _ => false,
    }
}
