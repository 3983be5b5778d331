//! A WebP file as its decoder reads it: without the declaration of metadata, because the decoder refuses a file whose
//! metadata were removed but are still declared. libwebp reads such a file.

use std::io::{BufRead, Read, Result, Seek, SeekFrom};

/// Offset of the feature flags in a file: after "RIFF", its length, "WEBP", "VP8X" and the length of that chunk.
pub(super) const FEATURES: usize = 20;
/// The features that declare metadata.
pub(super) const HAS_EXIF: u8 = 8;
pub(super) const HAS_XMP: u8 = 4;

pub(super) const ANIMATED: u8 = 2;
/// All features: these, alpha and a colour profile.
pub(super) const ALL_FEATURES: u8 = 0x3E;

/// The bytes of a file, and a position in them.
pub(super) struct File<'a> {
    bytes: &'a [u8],
    /// The feature flags without EXIF and XMP. A reader gets them instead of the byte at [`FEATURES`].
    features: [u8; 1],
    at: u64,
}

impl<'a> File<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let features = bytes.get(FEATURES).copied().unwrap_or_default();
        let extended = bytes.get(12..16) == Some(b"VP8X");
        let features = if extended { features & !(HAS_EXIF | HAS_XMP) } else { features };
        File { bytes, features: [features], at: 0 }
    }
}

impl BufRead for File<'_> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(match at {
            ..FEATURES => &self.bytes[at..FEATURES.min(self.bytes.len())],
            FEATURES if at < self.bytes.len() => &self.features,
            _ => &self.bytes[at..],
        })
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes as u64;
    }
}

impl Read for File<'_> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for File<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.bytes.len() as u64, by),
        };
        self.at = from.checked_add_signed(by).ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
