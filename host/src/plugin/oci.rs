//! Components in registries: pulled and pushed as OCI artifacts.
//!
//! The layout is the CNCF's [Wasm OCI Artifact layout](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/),
//! the protocol the [OCI distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
//! A registry is not trusted: the manifest must have the digest that the reference has, and the component the digest
//! and the size that the manifest has.
//!
//! - [`OciReference`]: what an artifact is called.
//! - [`Credentials`]: whose access is used.

use std::time::Duration;

use bytes::Bytes;
use oci_client::RegistryOperation;

pub use credentials::{Credentials, PASSWORD, USERNAME};
pub use reference::OciReference;

use session::Session;

mod credentials;
mod layout;
mod reference;
mod session;

/// How long a whole pull or push may take: enough for 100 MiB at 3 Mbit/s, and still an end.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How much of a text of others is repeated in a message.
const LONGEST_TEXT: usize = 300;

/// Why an artifact was not pulled or pushed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The text is no reference.
    #[error("`{text}` is no reference to an artifact: {mistake}")]
    Reference {
        /// The text, without a password.
        text: String,
        /// What is wrong with it and how it is mended.
        mistake: String,
    },
    /// The registry's name has no address.
    #[error("{reference}: the host of `{registry}` is not known; check the registry's name")]
    UnknownHost {
        /// What was asked for.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// Nothing listens there.
    #[error("{reference}: `{registry}` refuses the connection; check the port and whether the registry is running")]
    Refused {
        /// What was asked for.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// The registry does not let this user do this.
    #[error(
        "{reference}: `{registry}` denies access with {used}; log in with `docker login {registry}`, or set {USERNAME} and \
         {PASSWORD}"
    )]
    Unauthorized {
        /// What was asked for.
        reference: String,
        /// The registry.
        registry: String,
        /// Where the credentials are from that it did not accept.
        used: &'static str,
    },
    /// The registry does not have it.
    #[error("{reference}: `{registry}` has no such artifact; check the name and the tag or digest")]
    Unknown {
        /// What was asked for.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// The bytes are not those that were asked for.
    #[error("{reference}: {what} has the digest {found} instead of {expected}")]
    Digest {
        /// What was asked for.
        reference: String,
        /// Whose digest it is.
        what: &'static str,
        /// The digest that it should have.
        expected: String,
        /// The digest that it has.
        found: String,
    },
    /// It is another kind of artifact, or the bytes to push are no WebAssembly.
    #[error("{reference}: this is no WebAssembly component: {reason}")]
    NotWasm {
        /// What was asked for.
        reference: String,
        /// What it is.
        reason: String,
    },
    /// The component is larger than the caller allows.
    #[error("{reference}: the component has {size} bytes, and {limit} are allowed")]
    TooLarge {
        /// What was asked for.
        reference: String,
        /// The size that the manifest declares.
        size: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// The registry is too slow.
    #[error("{reference}: `{registry}` did not {what} within {limit:?}")]
    TimedOut {
        /// What was asked for.
        reference: String,
        /// The registry.
        registry: String,
        /// What it should have done.
        what: &'static str,
        /// In which time.
        limit: Duration,
    },
    /// Anything else, in the words of the registry or of the network's libraries.
    #[error("{reference}: {reason}")]
    Failed {
        /// What was asked for.
        reference: String,
        /// What happened.
        reason: String,
    },
}

/// A component from a registry, whose digests have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The component.
    pub bytes: Vec<u8>,
    /// `sha256:` and the digits of its manifest.
    pub manifest_digest: String,
    /// The reference with that digest: it names these bytes for good.
    pub reference: String,
}

/// Pulls the component that a reference names, with the [`Credentials`] that are found for its registry.
///
/// # Errors
/// [`OciError`]: when it is not there or not reachable, is no component, is larger than `max_bytes`, or is not what
/// its digests say.
pub async fn pull(reference: &OciReference, max_bytes: u64) -> Result<Pulled, OciError> {
    within_time(reference, async {
        let credentials = Credentials::find(reference).await;
        fetch(reference, max_bytes, credentials).await
    })
    .await
}

/// [`pull`] with credentials that the caller has.
///
/// # Errors
/// As [`pull`].
pub async fn pull_as(reference: &OciReference, max_bytes: u64, credentials: Credentials) -> Result<Pulled, OciError> {
    within_time(reference, fetch(reference, max_bytes, credentials)).await
}

/// Pushes a component, or a core module that can be made one, with the [`Credentials`] that are found for the
/// registry; gives the digest of its manifest. The same component makes the same digest every time.
///
/// # Errors
/// [`OciError`]: when the reference has a digest, the bytes are no WebAssembly, or the registry does not take them.
pub async fn push(reference: &OciReference, bytes: Bytes) -> Result<String, OciError> {
    within_time(reference, async {
        let credentials = Credentials::find(reference).await;
        store(reference, bytes, credentials).await
    })
    .await
}

/// [`push`] with credentials that the caller has.
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
    let layer = layout::layer(&manifest).map_err(|reason| session.not_wasm(reason))?;
    if layer.size > max_bytes {
        return Err(OciError::TooLarge { reference: reference.to_string(), size: layer.size, limit: max_bytes });
    }
    let bytes = session.component(&layer).await?;
    let reference = reference.pinned(&manifest_digest).to_string();
    Ok(Pulled { bytes, manifest_digest, reference })
}

async fn store(reference: &OciReference, bytes: Bytes, credentials: Credentials) -> Result<String, OciError> {
    if reference.digest().is_some() {
        let mistake = "leave the digest out; a push takes a tag and gives the digest".to_owned();
        return Err(OciError::Reference { text: reference.to_string(), mistake });
    }
    let not_wasm = |reason| OciError::NotWasm { reference: reference.to_string(), reason };
    let config = layout::config(&bytes).map_err(not_wasm)?;
    let manifest = layout::manifest(&config, &bytes, &layout::annotations(reference.plugin_name(), &bytes));
    let session = Session::open(reference, credentials, RegistryOperation::Push).await?;
    session.push(bytes, config, manifest).await
}

fn timed_out(reference: &OciReference, what: &'static str, limit: Duration) -> OciError {
    OciError::TimedOut { reference: reference.to_string(), registry: reference.registry().to_owned(), what, limit }
}

fn failed(reference: &OciReference, reason: &str) -> OciError {
    OciError::Failed { reference: reference.to_string(), reason: bounded(reason) }
}

/// A text of others in one line of bounded length.
fn bounded(text: &str) -> String {
    let line = |character: char| if character.is_control() { ' ' } else { character };
    let mut characters = text.trim().chars();
    let mut kept: String = characters.by_ref().take(LONGEST_TEXT).map(line).collect();
    if characters.next().is_some() {
        kept.push('…');
    }
    kept
}
