//! The reference to an artifact in a registry: `oci://registry/name:tag@sha256:…`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::error::{OciError, bounded};

/// The tag of a reference that has neither tag nor digest; the same as docker's.
const DEFAULT_TAG: &str = "latest";

/// Maximum length of a repository name that registries accept, in characters.
const LONGEST_REPOSITORY: usize = 255;

/// Maximum length of a tag in characters, from the
/// [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).
const LONGEST_TAG: usize = 128;

/// Number of hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The location of an artifact. With a digest, it identifies exactly one artifact.
///
/// The registry is required: docker's short names (`alpine` for `docker.io/library/alpine`) are rejected, because the
/// name of a plugin would be a valid short name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
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

impl FromStr for OciReference {
    type Err = OciError;

    /// Parses `oci://registry/name:tag@sha256:…`. `oci://`, tag and digest are optional. Without tag and digest, the
    /// tag is `latest`.
    ///
    /// # Errors
    /// [`OciError::Reference`], which names the mistake and how to fix it.
    fn from_str(text: &str) -> Result<Self, OciError> {
        parse(text).map_err(|mistake| {
            let bare = text.strip_prefix("oci://").unwrap_or(text);
            let shown = match bare.split_once('@') {
                Some((user, rest)) if is_user(user, rest) => format!("…@{rest}"),
                _ => text.to_owned(),
            };
            OciError::Reference { text: bounded(&shown), mistake }
        })
    }
}

/// Returns true if the text before an `@` is a user (optionally with a password) and the text after it begins with the
/// host of a registry.
fn is_user(before: &str, after: &str) -> bool {
    !before.contains('/') && !after.starts_with("sha256:")
}

fn parse(text: &str) -> Result<OciReference, String> {
    let bare = text.strip_prefix("oci://").unwrap_or(text);
    if let Some((scheme, _)) = bare.split_once("://") {
        return Err(format!("write `oci://` instead of `{scheme}://`"));
    }
    let (name, digest) = match bare.split_once('@') {
        Some((user, rest)) if is_user(user, rest) => {
            return Err("user names and passwords are not allowed in it; set them in the environment".into());
        }
        Some((name, digest)) => (name, Some(digest)),
        None => (bare, None),
    };
    let Some((registry, path)) = name.split_once('/').filter(|(registry, _)| !registry.is_empty()) else {
        return Err("the registry is missing; write `oci://registry/name:tag`".into());
    };
    check_registry(registry)?;
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    check_repository(repository)?;
    tag.map_or(Ok(()), check_tag)?;
    if digest.is_some_and(|digest| !is_sha256(digest)) {
        return Err("its digest must be `sha256:` and 64 lower-case hexadecimal digits".into());
    }
    let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG));
    Ok(OciReference {
        registry: registry.to_ascii_lowercase(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// Returns true if `digest` is `sha256:` and 64 hexadecimal digits. They must be lower case, as the
/// [image specification](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#sha-256) requires.
pub(super) fn is_sha256(digest: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == SHA256_DIGITS && hex.bytes().all(hexadecimal))
}

/// Accepts `host`, `host:port`, or an IPv6 address in brackets. Uses docker's rules to distinguish a host from a path
/// segment.
fn check_registry(registry: &str) -> Result<(), String> {
    let (host, port, well_formed) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let port = rest.strip_prefix(':');
            let well_formed = address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || port.is_some());
            (address, port, well_formed)
        }
        None => {
            let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = host.as_bytes();
            let well_formed = host.bytes().all(allowed) && ends(bytes.first()) && ends(bytes.last());
            (host, port, well_formed && !host.contains(".."))
        }
    };
    if !well_formed || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("`{registry}` is not a valid registry; write `host` or `host:port`"));
    }
    if port.is_none() && !host.contains(['.', ':']) && !host.eq_ignore_ascii_case("localhost") {
        return Err(format!("`{registry}` is not a full registry name; write one such as `docker.io/{registry}/…`"));
    }
    Ok(())
}

/// Accepts segments of lower-case letters and digits. Inside a segment, one `.`, one or two `_`, or any number of `-`
/// may separate them.
fn check_repository(repository: &str) -> Result<(), String> {
    if repository.is_empty() {
        return Err("the name after the registry is missing; write `oci://registry/name:tag`".into());
    }
    if repository.len() > LONGEST_REPOSITORY {
        return Err(format!("its name is longer than {LONGEST_REPOSITORY} characters"));
    }
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let joint = |text: &[u8]| matches!(text, b"." | b"_" | b"__") || text.iter().all(|&byte| byte == b'-');
    let well_formed = |segment: &str| {
        let bytes = segment.as_bytes();
        let ends = |byte: Option<&u8>| byte.is_some_and(|&byte| word(byte));
        ends(bytes.first()) && ends(bytes.last()) && bytes.split(|&byte| word(byte)).all(joint)
    };
    if repository.split('/').all(well_formed) {
        return Ok(());
    }
    Err(format!(
        "`{repository}` is not a valid name; use lower-case letters, digits and single `.`, `_` or `-` between them"
    ))
}

fn check_tag(tag: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !tag.is_empty() && tag.len() <= LONGEST_TAG && tag.bytes().all(allowed) && !tag.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(format!(
        "`{tag}` is not a valid tag; use up to {LONGEST_TAG} letters, digits, `.`, `_` and `-`, \
         not starting with `.` or `-`"
    ))
}

/// Returns true if a host is this machine. An IPv6 address is in brackets.
pub(super) fn is_loopback_host(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || v6.and_then(|host| host.parse().ok()).is_some_and(|address: Ipv6Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str) -> OciReference {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn references_are_parsed_and_formatted() {
        for (text, whole) in [
            ("oci://localhost:5000/team/resize:1.2", "oci://localhost:5000/team/resize:1.2"),
            ("Registry.Example/resize", "oci://registry.example/resize:latest"),
            ("127.0.0.1:5000/a__b/c--d.e:V1", "oci://127.0.0.1:5000/a__b/c--d.e:V1"),
            ("[::1]:5000/resize:_", "oci://[::1]:5000/resize:_"),
            ("oci://[::1]/resize", "oci://[::1]/resize:latest"),
        ] {
            assert_eq!(read(text).to_string(), whole);
            assert_eq!(read(whole), read(text));
        }
        let pinned = read(&format!("registry.example/a/resize@{DIGEST}"));
        assert_eq!((pinned.tag(), pinned.digest(), pinned.plugin_name()), (None, Some(DIGEST), "resize"));
        let both = read("registry.example/resize:2").pinned(DIGEST);
        assert_eq!(both, read(&format!("oci://registry.example/resize:2@{DIGEST}")));
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for (registry, loopback) in [
            ("localhost", true),
            ("LOCALHOST:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.0.1", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("[::2]:5000", false),
            ("10.0.0.1:5000", false),
            ("localhost.example", false),
        ] {
            assert_eq!(read(&format!("{registry}/resize")).is_loopback(), loopback, "{registry}");
        }
    }

    #[test]
    fn errors_name_the_mistake_and_how_to_fix_it() {
        for (text, part) in [
            ("", "the registry is missing"),
            ("resize:1", "the registry is missing"),
            ("oci:///resize", "the registry is missing"),
            ("resize@sha256:abc", "the registry is missing"),
            ("https://registry.example/resize", "write `oci://` instead of `https://`"),
            ("team/resize:1", "`docker.io/team/…`"),
            ("registry.example:port/resize", "write `host` or `host:port`"),
            ("registry..example/resize", "write `host` or `host:port`"),
            ("[::g]:5000/resize", "write `host` or `host:port`"),
            ("registry.example/", "the name after the registry is missing"),
            ("registry.example/Resize", "lower-case"),
            ("registry.example/a//b", "lower-case"),
            ("registry.example/../b", "lower-case"),
            ("registry.example/a___b", "lower-case"),
            ("registry.example/a?b", "lower-case"),
            ("registry.example/resize:", "is not a valid tag"),
            ("registry.example/resize:.1", "is not a valid tag"),
            ("registry.example/resize:1:2", "is not a valid tag"),
            ("registry.example/resize@sha256:abc", "64 lower-case hexadecimal digits"),
            ("registry.example/resize@", "64 lower-case hexadecimal digits"),
        ] {
            let error = text.parse::<OciReference>().expect_err(text).to_string();
            assert!(error.contains(part) && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
        let error =
            "oci://user:secret@registry.example/resize".parse::<OciReference>().expect_err("refused").to_string();
        assert!(error.contains("passwords are not allowed") && !error.contains("secret"), "{error}");
    }
}
