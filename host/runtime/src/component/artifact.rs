//! A component before it is compiled: its bytes, its digest and its metadata sections.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use wasmparser::Parser;

use super::error::ArtifactError;
use crate::identity::{Identity, digest};

/// The metadata sections of a component
/// ([OCI annotations](https://github.com/opencontainers/image-spec/blob/main/annotations.md) as custom sections).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The authors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// The licence, an SPDX expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licenses: Option<String>,
    /// The description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A component (or a core module that can be converted to one) before it is compiled.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Name, version and digest.
    pub identity: Identity,
    /// The metadata sections.
    pub metadata: Metadata,
    /// The file's size in bytes.
    pub size: usize,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    InMemory(Bytes),
    /// A copy on disk. It is read again when it is needed, which is rare.
    Stored(PathBuf),
}

/// The version of a component whose version is not known.
pub const UNVERSIONED: &str = "unversioned";

impl Artifact {
    /// Reads digest and metadata of a file's bytes. `name` is the plugin's name in the configuration; `version` is the version
    /// in the file name, which takes precedence over the metadata.
    pub fn new(name: &str, version: Option<&str>, bytes: Bytes) -> Self {
        let payload = wasm_metadata::Payload::from_binary(&bytes).ok();
        let metadata = payload.as_ref().map(wasm_metadata::Payload::metadata);
        let found = metadata.and_then(|metadata| metadata.version.as_ref()).map(ToString::to_string);
        let version = version.map(str::to_owned).or(found).unwrap_or_else(|| UNVERSIONED.to_owned());
        let text = |field: Option<String>| field.filter(|text| !text.is_empty());
        let metadata = metadata.map_or_else(Metadata::default, |metadata| Metadata {
            authors: text(metadata.authors.as_ref().map(ToString::to_string)),
            licenses: text(metadata.licenses.as_ref().map(ToString::to_string)),
            description: text(metadata.description.as_ref().map(ToString::to_string)),
        });
        let identity = Identity { name: name.into(), version: version.into(), digest: digest(&bytes).into() };
        Self { identity, metadata, size: bytes.len(), content: Content::InMemory(bytes) }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// If the stored copy is gone or was changed.
    pub fn bytes(&self) -> Result<Bytes, ArtifactError> {
        match &self.content {
            Content::InMemory(bytes) => Ok(bytes.clone()),
            Content::Stored(path) => {
                let bytes =
                    std::fs::read(path).map_err(|error| ArtifactError::Unreadable { path: path.clone(), error })?;
                if digest(&bytes) != *self.identity.digest {
                    return Err(ArtifactError::Changed(path.clone()));
                }
                Ok(bytes.into())
            }
        }
    }

    /// Releases the bytes in memory; from now on they are read from a copy on disk.
    #[must_use]
    pub fn stored_at(self, path: &Path) -> Self {
        Self { content: Content::Stored(path.to_owned()), ..self }
    }

    /// The component: the file itself, or the conversion of a core module that has wit-bindgen's metadata.
    ///
    /// # Errors
    /// If it is neither; the message says how to fix it.
    pub fn component(&self) -> Result<Bytes, ArtifactError> {
        let bytes = self.bytes()?;
        if Parser::is_component(&bytes) {
            return Ok(bytes);
        }
        if !Parser::is_core_wasm(&bytes) {
            return Err(ArtifactError::NotWebAssembly);
        }
        if !has_component_type(&bytes) {
            return Err(ArtifactError::CoreModule("it has no description of its interface".to_owned()));
        }
        let encoder = wit_component::ComponentEncoder::default().validate(true).module(&bytes);
        let encoded = encoder.and_then(|mut encoder| encoder.encode());
        encoded.map(Bytes::from).map_err(|error| ArtifactError::CoreModule(format!("{error:#}")))
    }
}

/// Returns true if the custom sections include wit-bindgen's description of the interface.
fn has_component_type(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with("component-type"))
    })
}

/// Returns true if a WebAssembly file ends inside a section: it is still being written, or is truncated. Bytes that are not
/// WebAssembly are not truncated, only wrong.
///
/// The sections are skipped by their sizes: [binary format](https://webassembly.github.io/spec/core/binary/modules.html).
pub fn is_truncated(bytes: &[u8]) -> bool {
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

/// An unsigned LEB128 number of at most five bytes, and its length in bytes.
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
    fn every_shortened_module_is_truncated_unless_it_ends_between_sections() {
        // The header, a custom section of 5 bytes, a custom section of 200 bytes (its size takes two bytes).
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([0, 5, 1, b'a', 1, 2, 3]);
        module.extend([0, 0xc8, 0x01, 1, b'b']);
        module.extend([0; 198]);
        let whole: Vec<_> = (0..=module.len()).filter(|&length| !is_truncated(&module[..length])).collect();
        assert_eq!(whole, [8, 15, module.len()]);
        assert!(!is_truncated(b"this is not WebAssembly"));
    }
}
