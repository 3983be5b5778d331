//! The requests to one registry for one artifact.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use bytesize::ByteSize;
use futures_util::{Stream, StreamExt};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE};
use oci_client::{Reference, RegistryOperation};
use plimsoll_runtime::identity::{digest, hex};
use sha2::{Digest, Sha256};

use super::credentials::Credentials;
use super::error::OciError;
use super::explain::{CONNECT_TIMEOUT, SILENCE_TIMEOUT, cause, explain, failed, mismatch};
use super::layout;
use super::reference::OciReference;
use super::registry_client::RegistryClient;
use crate::base::telemetry;

/// Media types of manifests that are requested. They include types that are rejected later, so that the message can say
/// why.
const MANIFESTS: [&str; 4] =
    [layout::MANIFEST, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// The size from which the log says how much was pulled. A registry takes minutes for it at 10 Mbit/s.
const LARGE: u64 = 100 << 20;

/// The bytes of a blob.
type BlobStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A client of one registry for one reference.
pub(super) struct Session<'a> {
    client: RegistryClient,
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
        // No read time-out for a push: the registry sends nothing while it receives a blob.
        let is_pull = matches!(operation, RegistryOperation::Pull);
        let read_timeout = is_pull.then_some(SILENCE_TIMEOUT);
        let client = RegistryClient::new(&image(reference), reference.is_loopback(), CONNECT_TIMEOUT, read_timeout);
        let client = client.map_err(|error| {
            let reason =
                format!("cannot create an HTTPS client; check that CA certificates are installed ({})", cause(&error));
            failed(reference, &reason)
        })?;
        let mut session = Self { client, reference, credentials };
        let actions = if is_pull { "pull" } else { "pull,push" };
        let authenticated = session.client.authenticate(&session.credentials.auth, actions).await;
        authenticated.map_err(|error| session.explain(error))?;
        Ok(session)
    }

    /// Pulls the manifest. Returns its bytes and their digest, which equals the digest of the reference if it has one.
    pub(super) async fn manifest(&self) -> Result<(Bytes, String), OciError> {
        let manifest = match self.raw_manifest(&image(self.reference)).await {
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
        self.client.manifest(name, &MANIFESTS).await
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

    /// The reference.
    pub(super) fn reference(&self) -> &'a OciReference {
        self.reference
    }

    /// Pulls the component. Its size and digest are those that the manifest declares.
    pub(super) async fn component(&self, layer: &layout::Layer) -> Result<Vec<u8>, OciError> {
        let mut blob = self.checked_blob(layer, "the component").await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Begins to pull a blob. Its end is an error unless size and digest are those that the manifest declares.
    pub(super) async fn checked_blob<'s>(
        &'s self,
        layer: &'s layout::Layer,
        what: &'static str,
    ) -> Result<CheckedBlob<'s>, OciError> {
        // Only the digest is used. A manifest may also list URLs for a layer, and with them it could make the host send
        // requests to any address.
        let stream = self.blob(&layer.digest).await.map_err(|error| self.explain(error))?;
        Ok(CheckedBlob { session: self, layer, what, stream, hash: Sha256::new(), bytes: 0 })
    }

    /// The bytes of a blob as they come.
    async fn blob(&self, digest: &str) -> Result<BlobStream, OciDistributionError> {
        let reply = self.client.blob(digest).await?;
        Ok(Box::pin(futures_util::stream::try_unfold(reply, async |mut reply| {
            let chunk = reply.chunk().await.map_err(io::Error::other)?;
            Ok(chunk.map(|chunk| (chunk, reply)))
        })))
    }

    /// Pushes the parts of an artifact, the manifest last. Returns the manifest's digest.
    pub(super) async fn push(&self, component: Bytes, config: Vec<u8>, manifest: Vec<u8>) -> Result<String, OciError> {
        for blob in [component, config.into()] {
            let name = format!("sha256:{}", digest(&blob));
            self.client.push_blob(blob, &name).await.map_err(|error| self.explain(error))?;
        }
        let name = format!("sha256:{}", digest(&manifest));
        let tag = image(self.reference).tag().unwrap_or_default().to_owned();
        let pushed = self.client.push_manifest(&tag, manifest, layout::MANIFEST).await;
        pushed.map_err(|error| self.explain(error))?;
        Ok(name)
    }

    fn mismatch(&self, what: &'static str, expected: String, found: String) -> OciError {
        mismatch(self.reference, what, expected, found)
    }

    fn wrong_size(&self, what: &str, more_or_less: &str, size: u64) -> OciError {
        let reason = format!("{what} has {more_or_less} than the {size} bytes that its manifest declares");
        failed(self.reference, &reason)
    }

    fn explain(&self, error: OciDistributionError) -> OciError {
        explain(self.reference, self.credentials.origin, error)
    }
}

/// A blob that is being pulled.
pub(super) struct CheckedBlob<'s> {
    session: &'s Session<'s>,
    layer: &'s layout::Layer,
    what: &'static str,
    stream: BlobStream,
    hash: Sha256,
    bytes: u64,
}

impl CheckedBlob<'_> {
    /// The next bytes; `None` after the last ones.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, OciError> {
        let Self { session, layer, what, .. } = self;
        let Some(chunk) = self.stream.next().await else {
            let found = format!("sha256:{}", hex(&std::mem::take(&mut self.hash).finalize()));
            if found != layer.digest {
                return Err(session.mismatch(what, layer.digest.clone(), found));
            }
            return if self.bytes < layer.size { Err(session.wrong_size(what, "less", layer.size)) } else { Ok(None) };
        };
        let chunk = chunk.map_err(|error| session.explain(OciDistributionError::IoError(error)))?;
        self.bytes += chunk.len() as u64;
        if self.bytes > layer.size {
            return Err(session.wrong_size(what, "more", layer.size));
        }
        self.hash.update(&chunk);
        self.show_progress(self.bytes - chunk.len() as u64);
        Ok(Some(chunk))
    }

    /// Says how much was pulled: on a terminal at each percent, otherwise in the log at each tenth of a large blob.
    fn show_progress(&self, before: u64) {
        let (size, reference) = (self.layer.size, self.session.reference);
        let parts = |parts: u64| (before * parts / size.max(1)) < (self.bytes * parts / size.max(1));
        let text = |bytes: u64| ByteSize(bytes).display().iec().to_string();
        let text = || format!("pulled {} of {} of {reference}", text(self.bytes), text(size));
        match telemetry::has_status() {
            true if parts(100) => telemetry::show_status(&text()),
            false if size >= LARGE && parts(10) => tracing::info!("{}", text()),
            _ => {}
        }
    }
}

/// The reference in the library's own form.
fn image(reference: &OciReference) -> Reference {
    let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
    match (reference.digest(), reference.tag()) {
        // The digest alone identifies the manifest, even if the tag has moved since.
        (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_owned()),
        (None, tag) => Reference::with_tag(registry, repository, tag.unwrap_or_default().to_owned()),
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
