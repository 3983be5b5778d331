//! Reads the orientation from an EXIF block or from XMP, by the rules of Pillow.

use image::metadata::Orientation;

/// The tag of the orientation (EXIF 2.32, 4.6.4).
const ORIENTATION: u16 = 0x0112;

/// Reads the orientation from an EXIF block. XMP is only used if the block is missing, is broken or has no orientation.
/// If none of both has a valid orientation, the image is not transformed.
///
/// EXIF's type of the value is SHORT. Some writers use BYTE or LONG, which Pillow accepts too.
pub(crate) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    // Some files of other formats contain the prefix that the block has in a JPEG.
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    let value = match exif.and_then(exif_value) {
        Some(value) => u8::try_from(value).ok(),
        None => xmp.and_then(xmp_value),
    };
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// The orientation in XMP: the digit after the first `tiff:Orientation="` or `tiff:Orientation>`, that is, of an
/// attribute or an element. XMP is text, and Pillow does not parse it either.
pub(crate) fn xmp_value(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let names = xmp.windows(NAME.len()).enumerate().filter(|(_, text)| *text == NAME);
    names.map(|(at, _)| &xmp[at + NAME.len()..]).find_map(|rest| match rest {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    })
}

/// The orientation in an EXIF block.
fn exif_value(exif: &[u8]) -> Option<u32> {
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
        (1, 1..) => exif.get(entry + 8).copied().map(u32::from),
        (3, 1..) => short(entry + 8).map(u32::from),
        (4, 1..) => long(entry + 8),
        _ => None,
    }
}
