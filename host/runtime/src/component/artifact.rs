//! A component before it is compiled: its bytes, its digest and its metadata sections.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use wasmparser::Parser;

use super::error::ArtifactError;
use super::exports::Interface;
use super::{module, nesting};
use crate::identity::{Identity, InvalidVersion, check_version, digest};

/// Maximum bytes of a text of the metadata. It is kept in memory and shown in lists, and its author decides its length.
const MAX_METADATA: usize = 1_024;

/// The metadata sections of a component
/// ([OCI annotations](https://github.com/opencontainers/image-spec/blob/main/annotations.md) as custom sections). The texts are the author's: escape them
/// with [`crate::text::printable`] where they are printed.
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
    /// False if the component cannot read assets, because it does not import them.
    pub reads_assets: bool,
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
    /// Reads digest and metadata of a file's bytes. `name` is the plugin's name in the configuration; `version` is the
    /// version in the file name, which takes precedence over the metadata.
    ///
    /// # Errors
    /// If the version is not valid.
    pub fn new(name: &str, version: Option<&str>, bytes: Bytes) -> Result<Self, InvalidVersion> {
        // What is nested too deep is refused before it is compiled. Its metadata would take all of the stack.
        let is_flat = nesting::check(&bytes).is_ok();
        let payload = if is_flat { wasm_metadata::Payload::from_binary(&bytes).ok() } else { None };
        let metadata = payload.as_ref().map(wasm_metadata::Payload::metadata);
        let found = metadata.and_then(|metadata| metadata.version.as_ref()).map(ToString::to_string);
        let found = found.filter(|version| !version.is_empty());
        let version = version.map(str::to_owned).or(found).unwrap_or_else(|| UNVERSIONED.to_owned());
        check_version(&version)?;
        let text = |field: Option<String>| {
            field.filter(|text| !text.is_empty()).map(|mut text| {
                text.truncate(text.floor_char_boundary(MAX_METADATA));
                text
            })
        };
        let metadata = metadata.map_or_else(Metadata::default, |metadata| Metadata {
            authors: text(metadata.authors.as_ref().map(ToString::to_string)),
            licenses: text(metadata.licenses.as_ref().map(ToString::to_string)),
            description: text(metadata.description.as_ref().map(ToString::to_string)),
        });
        let identity = Identity { name: name.into(), version: version.into(), digest: digest(&bytes).into() };
        let reads_assets = reads_assets(&bytes);
        Ok(Self { identity, metadata, size: bytes.len(), reads_assets, content: Content::InMemory(bytes) })
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

    /// Returns true if the bytes are read from a copy on disk.
    pub fn is_stored(&self) -> bool {
        matches!(self.content, Content::Stored(_))
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
        nesting::check(&bytes)?;
        if Parser::is_component(&bytes) {
            return Ok(bytes);
        }
        if !Parser::is_core_wasm(&bytes) {
            return Err(ArtifactError::NotWebAssembly);
        }
        module::component(&bytes).map(Bytes::from)
    }
}

/// Returns true if a component imports assets, or if its imports are not known before it is converted.
fn reads_assets(bytes: &[u8]) -> bool {
    const ASSETS: &str = "plimsoll:stage/assets";
    if !Parser::is_component(bytes) {
        return true;
    }
    Interface::read(bytes).map_or(true, |interface| interface.imports.iter().any(|name| name.starts_with(ASSETS)))
}

/// Returns true if a WebAssembly file ends inside a section: it is still being written, or is truncated. Bytes that are not
/// WebAssembly are not truncated, only wrong.
///
/// Only the headers of the sections are read: [binary format](https://webassembly.github.io/spec/core/binary/modules.html).
///
/// # Errors
/// If the file cannot be read.
pub fn is_truncated(file: impl Read + Seek) -> io::Result<bool> {
    const MAGIC: &[u8] = b"\0asm";
    const VERSION_BYTES: i64 = 4;
    let mut file = BufReader::new(file);
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if magic != MAGIC {
        return Ok(MAGIC.starts_with(&magic));
    }
    file.seek_relative(VERSION_BYTES)?;
    let mut at = (MAGIC.len() as u64).saturating_add_signed(VERSION_BYTES);
    while at < length {
        // The section's id, then its size.
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        let Some((size, header)) = leb128(&mut file)? else { return Ok(true) };
        at += 1 + header + size;
        file.seek_relative(i64::try_from(size).unwrap_or(i64::MAX))?;
    }
    Ok(at > length)
}

/// An unsigned LEB128 number of at most five bytes, and its length in bytes; `None` if the file ends before, or the number
/// is longer.
fn leb128(file: &mut impl BufRead) -> io::Result<Option<(u64, u64)>> {
    let mut value = 0;
    for (index, byte) in (0..5).zip(file.bytes()) {
        let byte = byte?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn every_shortened_module_is_truncated_unless_it_ends_between_sections() {
        // The header, a custom section of 5 bytes, a custom section of 200 bytes (its size takes two bytes).
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([0, 5, 1, b'a', 1, 2, 3]);
        module.extend([0, 0xc8, 0x01, 1, b'b']);
        module.extend([0; 198]);
        let is_truncated = |bytes: &[u8]| is_truncated(Cursor::new(bytes)).expect("memory is readable");
        let whole: Vec<_> = (0..=module.len()).filter(|&length| !is_truncated(&module[..length])).collect();
        assert_eq!(whole, [8, 15, module.len()]);
        assert!(!is_truncated(b"this is not WebAssembly"));
    }
}
