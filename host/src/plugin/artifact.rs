//! A component before it is compiled: its bytes, its digest, and what its metadata sections say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::Parser;

use super::bundled;

/// Which plugin, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// As the configuration names it.
    pub name: Arc<str>,
    /// From the file's name or the component's metadata; `unversioned` where neither has one.
    pub version: Arc<str>,
    /// SHA-256 of the file, hexadecimal.
    pub digest: Arc<str>,
}

/// What the component's metadata sections say about it
/// ([OCI annotations](https://github.com/opencontainers/image-spec/blob/main/annotations.md) as custom sections).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// An SPDX licence expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licenses: Option<String>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A component (or a core module that can be made one) before it is compiled.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Which plugin.
    pub identity: Identity,
    /// What its metadata say.
    pub metadata: Metadata,
    /// The file's size in bytes.
    pub size: usize,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Held(Bytes),
    /// A copy on disk, read again when it is needed, which is seldom.
    Stored(PathBuf),
}

impl Artifact {
    /// Reads digest and metadata of a file's bytes. `name` is what the configuration calls the plugin; `version`,
    /// where the file's name has one, goes before the metadata's.
    pub fn new(name: &str, version: Option<&str>, bytes: Bytes) -> Self {
        let payload = wasm_metadata::Payload::from_binary(&bytes).ok();
        let metadata = payload.as_ref().map(wasm_metadata::Payload::metadata);
        let found = metadata.and_then(|metadata| metadata.version.as_ref()).map(ToString::to_string);
        let version = version.map(str::to_owned).or(found).unwrap_or_else(|| match bundled::plugin(name) {
            Some(bundled) if bundled == bytes => env!("CARGO_PKG_VERSION").to_owned(),
            _ => "unversioned".to_owned(),
        });
        let text = |field: Option<String>| field.filter(|text| !text.is_empty());
        let metadata = metadata.map_or_else(Metadata::default, |metadata| Metadata {
            authors: text(metadata.authors.as_ref().map(ToString::to_string)),
            licenses: text(metadata.licenses.as_ref().map(ToString::to_string)),
            description: text(metadata.description.as_ref().map(ToString::to_string)),
        });
        let identity = Identity { name: name.into(), version: version.into(), digest: digest(&bytes).into() };
        Self { identity, metadata, size: bytes.len(), content: Content::Held(bytes) }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// When the stored copy is gone or is not what was stored.
    pub fn bytes(&self) -> Result<Bytes, String> {
        match &self.content {
            Content::Held(bytes) => Ok(bytes.clone()),
            Content::Stored(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|error| format!("its stored copy {} cannot be read: {error}", path.display()))?;
                if digest(&bytes) != *self.identity.digest {
                    return Err(format!("its stored copy {} has been changed", path.display()));
                }
                Ok(bytes.into())
            }
        }
    }

    /// Lets go of the bytes in memory for a copy on disk. Bundled components cost no memory of their own and stay.
    #[must_use]
    pub fn stored_at(self, path: &Path) -> Self {
        Self { content: Content::Stored(path.to_owned()), ..self }
    }

    /// The component: the file itself, or what a core module with wit-bindgen's metadata is made into.
    ///
    /// # Errors
    /// When it is neither, with the mend.
    pub fn component(&self) -> Result<Bytes, String> {
        let bytes = self.bytes()?;
        if Parser::is_component(&bytes) {
            return Ok(bytes);
        }
        if !Parser::is_core_wasm(&bytes) {
            return Err("is no component: it does not begin as WebAssembly does".to_owned());
        }
        let told = |error: &dyn std::fmt::Display| {
            format!(
                "is a core module that cannot be made a component ({error}); build it for `wasm32-wasip2`, or with \
                 wit-bindgen for `wasm32-unknown-unknown`"
            )
        };
        if !has_component_type(&bytes) {
            return Err(told(&"it carries no description of its interface"));
        }
        let mut encoder = wit_component::ComponentEncoder::default();
        encoder.validate(true).module(&bytes).map_err(|error| told(&format!("{error:#}")))?;
        encoder.encode().map(Bytes::from).map_err(|error| told(&format!("{error:#}")))
    }
}

/// Whether wit-bindgen's description of the interface is among the custom sections.
fn has_component_type(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with("component-type"))
    })
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file of WebAssembly ends inside a section: it is still being written, or was torn. Bytes that are no
/// WebAssembly at all are not torn, only wrong.
///
/// The sections are walked by their sizes: [binary format](https://webassembly.github.io/spec/core/binary/modules.html).
pub fn is_torn(bytes: &[u8]) -> bool {
    const HEADER: usize = 8;
    if bytes.len() < HEADER {
        return bytes.is_empty() || b"\0asm".starts_with(&bytes[..bytes.len().min(4)]);
    }
    if !bytes.starts_with(b"\0asm") {
        return false;
    }
    let mut rest = &bytes[HEADER..];
    while let [_id, tail @ ..] = rest {
        let Some((size, length)) = leb128(tail) else { return true };
        let Some(after) = tail.get(length + size..) else { return true };
        rest = after;
    }
    false
}

/// An unsigned LEB128 number of at most five bytes, and how many it took.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shortened_component_is_torn_unless_it_ends_between_sections() {
        let whole = bundled::plugin("infer-native").expect("bundled");
        assert!(!is_torn(whole));
        let torn = (0..whole.len()).filter(|&length| is_torn(&whole[..length])).count();
        // Only at the ends of its top-level sections, a few hundred, is a shortened file whole.
        assert!(torn * 100 > whole.len() * 99, "{torn} of {}", whole.len());
        assert!(!is_torn(b"this is no wasm at all"));
    }
}
