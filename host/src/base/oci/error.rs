//! Why an artifact was not pulled or pushed.

use std::time::Duration;

use super::variables::{PASSWORD, USERNAME};

/// Maximum characters of a foreign text in a message.
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

/// A text of others in one line of bounded length.
pub(super) fn bounded(text: &str) -> String {
    let line = |character: char| if character.is_control() { ' ' } else { character };
    let mut characters = text.trim().chars();
    let mut kept: String = characters.by_ref().take(LONGEST_TEXT).map(line).collect();
    if characters.next().is_some() {
        kept.push('…');
    }
    kept
}
