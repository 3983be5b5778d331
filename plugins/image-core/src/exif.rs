//! Reads the orientation from an EXIF block.

use image::metadata::Orientation;

/// The tag of the orientation (EXIF 2.32, 4.6.4).
const ORIENTATION: u16 = 0x0112;

/// Reads the orientation from an EXIF block. If the block is missing or broken, the image is not transformed.
///
/// The standard's type of the value is SHORT. Some writers use BYTE or LONG, which Pillow accepts too.
pub(crate) fn orientation(exif: Option<&[u8]>) -> Orientation {
    // Some files of other formats contain the prefix that the block has in a JPEG.
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(value).and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

fn value(exif: &[u8]) -> Option<u8> {
    let is_little = match exif.first_chunk()? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    if short(2)? != 42 {
        return None;
    }
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    let entry = (0..entries)
        .filter_map(|index| directory.checked_add(2 + 12 * index))
        .find(|&entry| short(entry) == Some(ORIENTATION))?;
    // Type and number of values, then the value itself, because it has at most four bytes.
    match (short(entry + 2)?, long(entry + 4)?) {
        (1, 1..) => exif.get(entry + 8).copied(),
        (3, 1..) => u8::try_from(short(entry + 8)?).ok(),
        (4, 1..) => u8::try_from(long(entry + 8)?).ok(),
        _ => None,
    }
}
