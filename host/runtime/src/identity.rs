//! The identity of a plugin: its name, version and digest.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::text::shortened;

/// Name, version and digest of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The version from the file name or the component's metadata; `unversioned` if neither has one.
    pub version: Arc<str>,
    /// SHA-256 of the file, hexadecimal.
    pub digest: Arc<str>,
}

/// The longest name of a plugin, in bytes.
const MAX_NAME: usize = 100;

/// Checks the name of a plugin. It is used as a file name and as a URL segment, so it may have letters, digits, `-`, `_`
/// and `.`, and must not begin with a dot.
///
/// # Errors
/// If the name breaks one of these rules.
pub fn check_plugin_name(name: &str) -> Result<(), InvalidPluginName> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(is_allowed) {
        return Err(InvalidPluginName(name.to_owned()));
    }
    Ok(())
}

/// A text that cannot be the name of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a valid plugin name: use up to {MAX_NAME} letters, digits, `-`, `_` and `.`, and no dot at the start",
    shortened(.0)
)]
pub struct InvalidPluginName(pub String);

/// The longest version of a plugin, in bytes.
const MAX_VERSION: usize = 64;

/// Checks the version of a plugin. It appears in headers, labels of metrics and log lines, so it may have letters,
/// digits, `.`, `+`, `_` and `-`.
///
/// # Errors
/// If the version breaks one of these rules.
pub fn check_version(version: &str) -> Result<(), InvalidVersion> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'_' | b'-');
    if version.is_empty() || version.len() > MAX_VERSION || !version.bytes().all(is_allowed) {
        return Err(InvalidVersion(version.to_owned()));
    }
    Ok(())
}

/// A text that cannot be the version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a valid version: use up to {MAX_VERSION} letters, digits, `.`, `+`, `_` and `-`, for example `1.10.0`",
    shortened(.0)
)]
pub struct InvalidVersion(pub String);

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
