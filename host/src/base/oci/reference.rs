//! The reference to an artifact in a registry: `oci://registry/name:tag@sha256:…`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Number of hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The location of an artifact. With a digest, it identifies exactly one artifact.
///
/// The registry is required: docker's short names (`alpine` for `docker.io/library/alpine`) are rejected, because the
/// name of a plugin would be a valid short name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl OciReference {
    /// The registry: `host` or `host:port`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. `None` if only a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the artifact's manifest must have: `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The default name of a plugin with this reference: the last segment of the repository.
    pub fn plugin_name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// Returns a copy with the digest of a manifest, so that it always refers to the same bytes.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..self.clone() }
    }

    /// Returns true if the registry is on this machine. Like docker, the client uses plain HTTP for such registries.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.host())
    }

    fn host(&self) -> &str {
        // In an IPv6 address all colons are before the closing bracket.
        match self.registry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => &self.registry,
        }
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Returns true if a host is this machine. An IPv6 address is in brackets.
pub(super) fn is_loopback_host(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || v6.and_then(|host| host.parse().ok()).is_some_and(|address: Ipv6Addr| address.is_loopback())
}

/// Returns true if `digest` is `sha256:` and 64 hexadecimal digits. They must be lower case, as the
/// [image specification](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#sha-256) requires.
pub(super) fn is_sha256(digest: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == SHA256_DIGITS && hex.bytes().all(hexadecimal))
}
