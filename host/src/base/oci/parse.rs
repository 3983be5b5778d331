//! Parses references to artifacts.

use std::net::Ipv6Addr;
use std::str::FromStr;

use super::error::{OciError, bounded};
use super::reference::{OciReference, is_sha256};

/// The tag of a reference that has neither tag nor digest; the same as docker's.
const DEFAULT_TAG: &str = "latest";

/// Maximum length of a repository name that registries accept, in characters.
const LONGEST_REPOSITORY: usize = 255;

/// Maximum length of a tag in characters, from the
/// [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).
const LONGEST_TAG: usize = 128;

/// What is wrong with a reference, and how to fix it.
#[derive(Debug, thiserror::Error)]
enum Mistake {
    #[error("write `oci://` instead of `{0}://`")]
    Scheme(String),
    #[error("user names and passwords are not allowed in it; set them in the environment")]
    User,
    #[error("the registry is missing; write `oci://registry/name:tag`")]
    NoRegistry,
    #[error("`{0}` is not a valid registry; write `host` or `host:port`")]
    Registry(String),
    #[error("`{0}` is not a full registry name; write one such as `docker.io/{0}/…`")]
    ShortRegistry(String),
    #[error("the name after the registry is missing; write `oci://registry/name:tag`")]
    NoName,
    #[error("its name is longer than {LONGEST_REPOSITORY} characters")]
    LongName,
    #[error("`{0}` is not a valid name; use lower-case letters, digits and single `.`, `_` or `-` between them")]
    Name(String),
    #[error(
        "`{0}` is not a valid tag; use up to {LONGEST_TAG} letters, digits, `.`, `_` and `-`, not starting with `.` or \
         `-`"
    )]
    Tag(String),
    #[error("its digest must be `sha256:` and 64 lower-case hexadecimal digits")]
    Digest,
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
            OciError::Reference { text: bounded(&shown), mistake: mistake.to_string() }
        })
    }
}

/// Returns true if the text before an `@` is a user (optionally with a password) and the text after it begins with the
/// host of a registry.
fn is_user(before: &str, after: &str) -> bool {
    !before.contains('/') && !after.starts_with("sha256:")
}

fn parse(text: &str) -> Result<OciReference, Mistake> {
    let bare = text.strip_prefix("oci://").unwrap_or(text);
    if let Some((scheme, _)) = bare.split_once("://") {
        return Err(Mistake::Scheme(scheme.to_owned()));
    }
    let (name, digest) = match bare.split_once('@') {
        Some((user, rest)) if is_user(user, rest) => {
            return Err(Mistake::User);
        }
        Some((name, digest)) => (name, Some(digest)),
        None => (bare, None),
    };
    let Some((registry, path)) = name.split_once('/').filter(|(registry, _)| !registry.is_empty()) else {
        return Err(Mistake::NoRegistry);
    };
    check_registry(registry)?;
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    check_repository(repository)?;
    tag.map_or(Ok(()), check_tag)?;
    if digest.is_some_and(|digest| !is_sha256(digest)) {
        return Err(Mistake::Digest);
    }
    let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG));
    Ok(OciReference {
        registry: registry.to_ascii_lowercase(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// Accepts `host`, `host:port`, or an IPv6 address in brackets. Uses docker's rules to distinguish a host from a path
/// segment.
fn check_registry(registry: &str) -> Result<(), Mistake> {
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
        return Err(Mistake::Registry(registry.to_owned()));
    }
    if port.is_none() && !host.contains(['.', ':']) && !host.eq_ignore_ascii_case("localhost") {
        return Err(Mistake::ShortRegistry(registry.to_owned()));
    }
    Ok(())
}

/// Accepts segments of lower-case letters and digits. Inside a segment, one `.`, one or two `_`, or any number of `-`
/// may separate them.
fn check_repository(repository: &str) -> Result<(), Mistake> {
    if repository.is_empty() {
        return Err(Mistake::NoName);
    }
    if repository.len() > LONGEST_REPOSITORY {
        return Err(Mistake::LongName);
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
    Err(Mistake::Name(repository.to_owned()))
}

fn check_tag(tag: &str) -> Result<(), Mistake> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !tag.is_empty() && tag.len() <= LONGEST_TAG && tag.bytes().all(allowed) && !tag.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(Mistake::Tag(tag.to_owned()))
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
