//! The chunks of a WebP file (WebP Container Specification, "RIFF File Format"). They are read in place, so a broken
//! length allocates nothing.

use image::metadata::Orientation;

use super::file::{FEATURES, HAS_EXIF, HAS_XMP};
use crate::exif::{orientation, without_prefix};
use crate::limits::Rejected;

/// The part of the body that belongs to the file.
///
/// # Errors
/// If the file is longer than the body. The image may still be complete, but a decoder does not always notice if it is
/// not.
pub(super) fn whole(body: &[u8]) -> Result<&[u8], Rejected> {
    // "RIFF", the length of what follows.
    let length = body.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let end = length.and_then(|length| usize::try_from(length).ok()?.checked_add(8));
    end.and_then(|end| body.get(..end))
        .ok_or_else(|| Rejected::broken("WebP", "the file ends before the end of the image"))
}

/// The orientation in the metadata. As in libwebp, only metadata that the features declare count.
pub(super) fn read_orientation(file: &[u8]) -> Orientation {
    let is_extended = file.get(12..16) == Some(b"VP8X");
    let features = file.get(FEATURES).filter(|_| is_extended).copied().unwrap_or_default();
    let declared = |feature: u8, name: &[u8; 4]| chunk(file, name).filter(|_| features & feature != 0);
    orientation(declared(HAS_EXIF, b"EXIF").map(without_prefix), declared(HAS_XMP, b"XMP "))
}

/// Width and height in the lossy image of a file (RFC 6386, section 9.1). `None` if its image is lossless.
///
/// # Errors
/// If the file ends before the end of its image.
pub(super) fn lossy_size(file: &[u8]) -> Result<Option<(u32, u32)>, Rejected> {
    let truncated = || Rejected::broken("WebP", "the file ends before the end of the image");
    let Some(image) = chunk(file, b"VP8 ") else {
        return chunk(file, b"VP8L").map(|_| None).ok_or_else(truncated);
    };
    // A tag and a start code of three bytes each, then two numbers of 14 bits, each with two bits of scale.
    let sizes = image.get(6..10).ok_or_else(truncated)?;
    let size = |at: usize| u32::from(u16::from_le_bytes([sizes[at], sizes[at + 1]]) & 0x3FFF);
    Ok(Some((size(0), size(2))))
}

/// Returns the data of the first chunk of the file with this name.
pub(super) fn chunk<'a>(body: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    // "RIFF", a length, "WEBP".
    find(body.get(12..)?, name)
}

/// Returns the data of the first chunk with this name.
pub(super) fn find<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    chunks(bytes).find(|(other, _)| *other == name).map(|(_, data)| data)
}

/// Iterates over chunks: a name, a length and the data, padded to a multiple of two bytes. Ends at an incomplete chunk.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let data = rest.get(..length)?;
        bytes = rest.get(length.checked_add(length % 2)?..).unwrap_or_default();
        Some((name, data))
    })
}
