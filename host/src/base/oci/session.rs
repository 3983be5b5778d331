//! The conversation with one registry about one artifact, and its failures in words for people.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE};
use oci_client::{Client, Reference, RegistryOperation};
use plimsoll_runtime::identity::digest;

use super::credentials::Credentials;
use super::error::{OciError, bounded};
use super::layout;
use super::reference::OciReference;

/// How long a registry may take to accept a connection. A packet that is lost is sent again after 1, 3 and 7 seconds;
/// who has not answered then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a registry may be silent in the middle of an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// This machine's names, as the client's list of hosts without a proxy has them.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Manifests that registries are asked for: also those that are then refused, so that the message can say why.
const MANIFESTS: [&str; 4] =
    [layout::MANIFEST, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// A client of one registry for one reference.
pub(super) struct Session<'a> {
    client: Client,
    reference: &'a OciReference,
    credentials: Credentials,
}

impl<'a> Session<'a> {
    /// Connects and authenticates.
    pub(super) async fn open(
        reference: &'a OciReference,
        credentials: Credentials,
        operation: RegistryOperation,
    ) -> Result<Self, OciError> {
        let loopback = reference.is_loopback();
        let config = ClientConfig {
            protocol: if loopback { ClientProtocol::Http } else { ClientProtocol::Https },
            // What is plain must not leave this machine. The environment's proxies are taken unless there is another,
            // so this is another, which is for none of this machine's names.
            http_proxy: loopback.then(|| "http://localhost".to_owned()),
            no_proxy: loopback.then(|| LOOPBACK.to_owned()),
            // One request for a blob: some registries take no chunks as small as the client's.
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            // While something is sent the registry has nothing to say.
            read_timeout: matches!(operation, RegistryOperation::Pull).then_some(SILENCE_TIMEOUT),
            user_agent: concat!("plimsoll/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let failed = |error| {
            let reason = format!("no HTTPS client can be made; are CA certificates installed? ({})", cause(&error));
            failed(reference, &reason)
        };
        // Not `Client::new`, which goes on without the settings when they cannot be used.
        let client = Client::try_from(config).map_err(failed)?;
        let session = Self { client, reference, credentials };
        // The client does this by itself, but then keeps its errors to itself, too.
        let authenticated = session.client.auth(&session.image(), &session.credentials.auth, operation).await;
        authenticated.map_err(|error| session.told(error))?;
        Ok(session)
    }

    fn image(&self) -> Reference {
        let (registry, repository) = (self.reference.registry().to_owned(), self.reference.repository().to_owned());
        match (self.reference.digest(), self.reference.tag()) {
            // The digest alone says which: a tag that has moved on takes nothing away from it.
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_owned()),
            (None, tag) => Reference::with_tag(registry, repository, tag.unwrap_or_default().to_owned()),
        }
    }

    /// The manifest's bytes and their digest, which is the reference's where that has one.
    pub(super) async fn manifest(&self) -> Result<(Bytes, String), OciError> {
        let (manifest, _) = match self.raw_manifest(&self.image()).await {
            Ok(answer) => answer,
            Err(error) if is_unknown(&error) => return Err(self.unknown().await),
            Err(OciDistributionError::DigestError(DigestError::VerificationError { expected, actual })) => {
                return Err(self.mismatch("the manifest", expected, actual));
            }
            Err(error) => return Err(self.told(error)),
        };
        let found = format!("sha256:{}", digest(&manifest));
        match self.reference.digest() {
            // The client has compared them already, with the registry's header in between.
            Some(expected) if expected != found => Err(self.mismatch("the manifest", expected.to_owned(), found)),
            _ => Ok((manifest, found)),
        }
    }

    async fn raw_manifest(&self, image: &Reference) -> Result<(Bytes, String), OciDistributionError> {
        self.client.pull_manifest_raw(image, &self.credentials.auth, &MANIFESTS).await
    }

    /// Why there is no such manifest: where the tag names another digest than the reference, that is the mistake.
    async fn unknown(&self) -> OciError {
        if let (Some(tag), Some(expected)) = (self.reference.tag(), self.reference.digest()) {
            let (registry, repository) = (self.reference.registry(), self.reference.repository());
            let tagged = Reference::with_tag(registry.to_owned(), repository.to_owned(), tag.to_owned());
            if let Ok((manifest, _)) = self.raw_manifest(&tagged).await {
                let found = format!("sha256:{}", digest(&manifest));
                return self.mismatch("what the tag names", expected.to_owned(), found);
            }
        }
        let registry = self.reference.registry().to_owned();
        OciError::Unknown { reference: self.reference.to_string(), registry }
    }

    /// The component's bytes, as many as the manifest says and with the digest that it says.
    pub(super) async fn component(&self, layer: &layout::Layer) -> Result<Vec<u8>, OciError> {
        // By its digest alone. A manifest may also list URLs for a layer, and so have a host ask anybody for anything.
        let stream = self.client.pull_blob_stream(&self.image(), layer.digest.as_str()).await;
        let mut stream = stream.map_err(|error| self.told(error))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.told(OciDistributionError::IoError(error)))?;
            if (bytes.len() + chunk.len()) as u64 > layer.size {
                return Err(self.wrong_size("more", layer.size));
            }
            bytes.extend_from_slice(&chunk);
        }
        // The client has compared these, too.
        let found = format!("sha256:{}", digest(&bytes));
        if found != layer.digest {
            return Err(self.mismatch("the component", layer.digest.clone(), found));
        }
        if (bytes.len() as u64) < layer.size {
            return Err(self.wrong_size("less", layer.size));
        }
        Ok(bytes)
    }

    /// Pushes what makes up an artifact, the manifest last; gives the manifest's digest.
    pub(super) async fn push(&self, component: Bytes, config: Vec<u8>, manifest: Vec<u8>) -> Result<String, OciError> {
        let image = self.image();
        for blob in [component, config.into()] {
            let name = format!("sha256:{}", digest(&blob));
            self.client.push_blob(&image, blob, &name).await.map_err(|error| self.told(error))?;
        }
        let name = format!("sha256:{}", digest(&manifest));
        let media_type = layout::MANIFEST.parse().expect("a constant without control characters");
        let pushed = self.client.push_manifest_raw(&image, manifest, media_type).await;
        pushed.map_err(|error| self.told(error))?;
        Ok(name)
    }

    pub(super) fn not_wasm(&self, reason: String) -> OciError {
        OciError::NotWasm { reference: self.reference.to_string(), reason }
    }

    fn mismatch(&self, what: &'static str, expected: String, found: String) -> OciError {
        OciError::Digest { reference: self.reference.to_string(), what, expected, found }
    }

    fn wrong_size(&self, more_or_less: &str, size: u64) -> OciError {
        failed(
            self.reference,
            &format!("the component has {more_or_less} than the {size} bytes that its manifest says"),
        )
    }

    /// The client's error in the words of this module.
    fn told(&self, error: OciDistributionError) -> OciError {
        use OciDistributionError as E;
        let (reference, registry) = (self.reference.to_string(), self.reference.registry().to_owned());
        match error {
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) | E::ServerError { code: 401 | 403, .. } => {
                OciError::Unauthorized { reference, registry, used: self.credentials.origin }
            }
            E::RegistryError { envelope, .. } => {
                let denied = |code: &OciErrorCode| matches!(code, OciErrorCode::Unauthorized | OciErrorCode::Denied);
                if envelope.errors.iter().any(|error| denied(&error.code)) {
                    return OciError::Unauthorized { reference, registry, used: self.credentials.origin };
                }
                let words = |error: &oci_client::errors::OciError| {
                    if error.message.is_empty() { format!("{:?}", error.code) } else { error.message.clone() }
                };
                let words: Vec<_> = envelope.errors.iter().map(words).collect();
                failed(self.reference, &format!("`{registry}` says: {}", words.join("; ")))
            }
            E::ServerError { code, message, .. } => {
                failed(self.reference, &format!("`{registry}` answers with status {code}: {message}"))
            }
            E::DigestError(DigestError::VerificationError { expected, actual }) => {
                self.mismatch("the component", expected, actual)
            }
            E::DigestError(error) => failed(self.reference, &error.to_string()),
            E::RequestError(error) if error.is_timeout() && error.is_connect() => {
                timed_out(self.reference, "accept a connection", CONNECT_TIMEOUT)
            }
            E::RequestError(error) => self.unreachable(&error),
            // The stream of a blob wraps the errors that it is read with and checked by.
            E::IoError(error) => match error.into_inner().map(|inner| inner.downcast::<DigestError>()) {
                Some(Ok(error)) => self.told(E::DigestError(*error)),
                Some(Err(error)) => self.unreachable(&*error),
                None => failed(self.reference, "the answer cannot be read"),
            },
            error => failed(self.reference, &error.to_string()),
        }
    }

    /// An error of the network. Its libraries tell some kinds apart only by their words.
    fn unreachable(&self, error: &(dyn Error + 'static)) -> OciError {
        let (reference, registry) = (self.reference.to_string(), self.reference.registry().to_owned());
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if chain(error).any(|error| error.downcast_ref().is_some_and(refused)) {
            return OciError::Refused { reference, registry };
        }
        if chain(error).any(|error| error.to_string() == "dns error") {
            return OciError::UnknownHost { reference, registry };
        }
        if chain(error).any(|error| error.to_string().ends_with("timed out")) {
            return timed_out(self.reference, "send anything", SILENCE_TIMEOUT);
        }
        let protocol = if self.reference.is_loopback() { "HTTP" } else { "HTTPS" };
        failed(self.reference, &format!("`{registry}` cannot be used over {protocol}: {}", cause(error)))
    }
}

/// Whether the registry says that it does not have the manifest.
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

/// An error and what it was caused by.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The words of the first cause; those of the outer errors say only that there is one.
fn cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn timed_out(reference: &OciReference, what: &'static str, limit: Duration) -> OciError {
    OciError::TimedOut { reference: reference.to_string(), registry: reference.registry().to_owned(), what, limit }
}

pub(super) fn failed(reference: &OciReference, reason: &str) -> OciError {
    OciError::Failed { reference: reference.to_string(), reason: bounded(reason) }
}
