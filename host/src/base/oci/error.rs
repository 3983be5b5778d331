//! The errors of pull and push.

use std::time::Duration;

use plimsoll_runtime::text::printable;

use super::variables::{PASSWORD, REGISTRY, USERNAME};

/// Maximum bytes of a text from elsewhere (a registry, a library) in a message.
const LONGEST_TEXT: usize = 300;

/// The reason why an artifact was not pulled or pushed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The text is not a valid reference.
    #[error("`{text}` is not a valid artifact reference: {mistake}")]
    Reference {
        /// The text, without a password.
        text: String,
        /// What is wrong with it, and how to fix it.
        mistake: String,
    },
    /// The registry's host name cannot be resolved.
    #[error("{reference}: the host of `{registry}` cannot be resolved; check the registry's name")]
    UnknownHost {
        /// The requested reference.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// The connection was refused.
    #[error("{reference}: `{registry}` refused the connection; check the port and whether the registry is running")]
    Refused {
        /// The requested reference.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// The registry denies access.
    #[error(
        "{reference}: `{registry}` denied access with {used}; log in with `docker login {registry}`, or set {USERNAME}, \
         {PASSWORD} and {REGISTRY}"
    )]
    Unauthorized {
        /// The requested reference.
        reference: String,
        /// The registry.
        registry: String,
        /// The origin of the credentials that were rejected.
        used: &'static str,
    },
    /// The registry does not have the artifact.
    #[error("{reference}: `{registry}` has no such artifact; check the name and the tag or digest")]
    Unknown {
        /// The requested reference.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// The bytes do not have the expected digest.
    #[error("{reference}: {what} has the digest {found}, expected {expected}")]
    Digest {
        /// The requested reference.
        reference: String,
        /// The object with the wrong digest.
        what: &'static str,
        /// The expected digest.
        expected: String,
        /// The actual digest.
        found: String,
    },
    /// It is another kind of artifact, or the bytes to push are not WebAssembly.
    #[error("{reference}: not a WebAssembly component: {reason}")]
    NotWasm {
        /// The requested reference.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// The component is larger than the caller allows.
    #[error("{reference}: the component has {size} bytes; {limit} are allowed")]
    TooLarge {
        /// The requested reference.
        reference: String,
        /// The size that the manifest declares.
        size: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// The registry did not respond in time.
    #[error("{reference}: `{registry}` did not {what} within {limit:?}")]
    TimedOut {
        /// The requested reference.
        reference: String,
        /// The registry.
        registry: String,
        /// The action that it did not complete.
        what: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// It is not what is expected of a model, or cannot be stored. Asking the registry again does not help.
    #[error("{reference}: {reason}")]
    Unusable {
        /// The requested reference.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// Any other error. The text is from the registry or from a network library.
    #[error("{reference}: {reason}")]
    Failed {
        /// The requested reference.
        reference: String,
        /// What happened.
        reason: String,
    },
}

impl OciError {
    /// Returns true if the registry could not be asked, so that it may answer later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::UnknownHost { .. } | Self::Refused { .. } | Self::TimedOut { .. } | Self::Failed { .. })
    }
}

/// Converts a text from elsewhere to one line of limited length.
pub(super) fn bounded(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "), LONGEST_TEXT)
}
