//! Pulls and pushes components.

use std::time::Duration;

use bytes::Bytes;
use oci_client::RegistryOperation;

use super::credentials::Credentials;
use super::error::OciError;
use super::explain::timed_out;
use super::layout::{self, LayoutError};
use super::reference::OciReference;
use super::session::Session;

/// The time limit of a whole pull or push: enough for 100 MiB at 3 Mbit/s.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A component from a registry, whose digests have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The component.
    pub bytes: Vec<u8>,
    /// The digest of its manifest: `sha256:` and 64 hexadecimal digits.
    pub manifest_digest: String,
    /// The reference with that digest. It always refers to these bytes.
    pub reference: String,
}

/// Pulls the component of a reference, with the [`Credentials`] that are found for its registry.
///
/// # Errors
/// [`OciError`] if the registry cannot be reached, or if the artifact does not exist, is not a component, is larger
/// than `max_bytes`, or does not match its digests.
pub async fn pull(reference: &OciReference, max_bytes: u64) -> Result<Pulled, OciError> {
    within_time(reference, async {
        let credentials = Credentials::find(reference).await;
        fetch(reference, max_bytes, credentials).await
    })
    .await
}

/// [`pull`] with the given credentials.
///
/// # Errors
/// As [`pull`].
pub async fn pull_as(reference: &OciReference, max_bytes: u64, credentials: Credentials) -> Result<Pulled, OciError> {
    within_time(reference, fetch(reference, max_bytes, credentials)).await
}

/// Pushes a component, or a core module that can be made into a component, with the [`Credentials`] that are found for
/// the registry. Returns the digest of its manifest. The same component always has the same digest.
///
/// # Errors
/// [`OciError`] if the reference has a digest, the bytes are not WebAssembly, or the registry does not accept them.
pub async fn push(reference: &OciReference, bytes: Bytes) -> Result<String, OciError> {
    within_time(reference, async {
        let credentials = Credentials::find(reference).await;
        store(reference, bytes, credentials).await
    })
    .await
}

/// [`push`] with the given credentials.
///
/// # Errors
/// As [`push`].
pub async fn push_as(reference: &OciReference, bytes: Bytes, credentials: Credentials) -> Result<String, OciError> {
    within_time(reference, store(reference, bytes, credentials)).await
}

async fn within_time<T>(
    reference: &OciReference,
    work: impl Future<Output = Result<T, OciError>>,
) -> Result<T, OciError> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(timed_out(reference, "finish", TIMEOUT)))
}

async fn fetch(reference: &OciReference, max_bytes: u64, credentials: Credentials) -> Result<Pulled, OciError> {
    let session = Session::open(reference, credentials, RegistryOperation::Pull).await?;
    let (manifest, manifest_digest) = session.manifest().await?;
    let layer = layout::layer(&manifest).map_err(|error| not_wasm(reference, &error))?;
    if layer.size > max_bytes {
        return Err(OciError::TooLarge { reference: reference.to_string(), size: layer.size, limit: max_bytes });
    }
    let bytes = session.component(&layer).await?;
    let reference = reference.pinned(&manifest_digest).to_string();
    Ok(Pulled { bytes, manifest_digest, reference })
}

async fn store(reference: &OciReference, bytes: Bytes, credentials: Credentials) -> Result<String, OciError> {
    if reference.digest().is_some() {
        let mistake = "remove the digest; a push needs a tag and prints the digest".to_owned();
        return Err(OciError::Reference { text: reference.to_string(), mistake });
    }
    let config = layout::config(&bytes).map_err(|error| not_wasm(reference, &error))?;
    let manifest = layout::manifest(&config, &bytes, &layout::annotations(reference.plugin_name(), &bytes));
    let session = Session::open(reference, credentials, RegistryOperation::Push).await?;
    session.push(bytes, config, manifest).await
}

fn not_wasm(reference: &OciReference, error: &LayoutError) -> OciError {
    OciError::NotWasm { reference: reference.to_string(), reason: error.to_string() }
}
