//! Converts the errors of the client to messages for users.

use std::error::Error;
use std::io;
use std::time::Duration;

use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};

use super::error::{OciError, bounded};
use super::reference::OciReference;

/// Time-out for connecting to a registry. A lost packet is sent again after 1, 3 and 7 seconds; a registry that has not
/// answered by then is unreachable.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time without data in the middle of a response.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Converts an error of the client. `used`: the origin of the credentials.
pub(super) fn explain(reference: &OciReference, used: &'static str, error: OciDistributionError) -> OciError {
    use OciDistributionError as E;
    let (name, registry) = (reference.to_string(), reference.registry().to_owned());
    match error {
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) | E::ServerError { code: 401 | 403, .. } => {
            OciError::Unauthorized { reference: name, registry, used }
        }
        E::RegistryError { envelope, .. } => {
            let denied = |code: &OciErrorCode| matches!(code, OciErrorCode::Unauthorized | OciErrorCode::Denied);
            if envelope.errors.iter().any(|error| denied(&error.code)) {
                return OciError::Unauthorized { reference: name, registry, used };
            }
            let words = |error: &oci_client::errors::OciError| {
                if error.message.is_empty() { format!("{:?}", error.code) } else { error.message.clone() }
            };
            let words: Vec<_> = envelope.errors.iter().map(words).collect();
            failed(reference, &format!("`{registry}` reported: {}", words.join("; ")))
        }
        E::ServerError { code, message, .. } => {
            failed(reference, &format!("`{registry}` responded with status {code}: {message}"))
        }
        E::DigestError(DigestError::VerificationError { expected, actual }) => {
            mismatch(reference, "the component", expected, actual)
        }
        E::DigestError(error) => failed(reference, &error.to_string()),
        E::RequestError(error) if error.is_timeout() && error.is_connect() => {
            timed_out(reference, "accept a connection", CONNECT_TIMEOUT)
        }
        E::RequestError(error) => explain_network_error(reference, &error),
        // The stream of a blob wraps network errors and digest errors in an I/O error.
        E::IoError(error) => match error.into_inner().map(|inner| inner.downcast::<DigestError>()) {
            Some(Ok(error)) => explain(reference, used, E::DigestError(*error)),
            Some(Err(error)) => explain_network_error(reference, &*error),
            None => failed(reference, "the response cannot be read"),
        },
        error => failed(reference, &error.to_string()),
    }
}

/// Converts a network error. The network libraries distinguish some kinds of errors only by their messages.
fn explain_network_error(reference: &OciReference, error: &(dyn Error + 'static)) -> OciError {
    let (name, registry) = (reference.to_string(), reference.registry().to_owned());
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if chain(error).any(|error| error.downcast_ref().is_some_and(refused)) {
        return OciError::Refused { reference: name, registry };
    }
    if chain(error).any(|error| error.to_string() == "dns error") {
        return OciError::UnknownHost { reference: name, registry };
    }
    if chain(error).any(|error| error.to_string().ends_with("timed out")) {
        return timed_out(reference, "send anything", SILENCE_TIMEOUT);
    }
    let protocol = if reference.is_loopback() { "HTTP" } else { "HTTPS" };
    failed(reference, &format!("`{registry}` cannot be used over {protocol}: {}", cause(error)))
}

/// The error for bytes with another digest. `what` names them.
pub(super) fn mismatch(reference: &OciReference, what: &'static str, expected: String, found: String) -> OciError {
    OciError::Digest { reference: reference.to_string(), what, expected, found }
}

/// Iterates over an error and its causes, the outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The message of the innermost error. The messages of the outer errors only say that there is a cause.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn timed_out(reference: &OciReference, what: &'static str, limit: Duration) -> OciError {
    OciError::TimedOut { reference: reference.to_string(), registry: reference.registry().to_owned(), what, limit }
}

pub(super) fn unusable(reference: &OciReference, reason: &str) -> OciError {
    OciError::Unusable { reference: reference.to_string(), reason: bounded(reason) }
}

pub(super) fn failed(reference: &OciReference, reason: &str) -> OciError {
    OciError::Failed { reference: reference.to_string(), reason: bounded(reason) }
}
