//! The orientation of an image, from its EXIF block or from XMP, by the rules of Pillow (`ImageOps.exif_transpose`).

mod directory;

use image::metadata::Orientation;

pub(crate) use directory::{Directory, integer};

/// The prefix of an EXIF block in a JPEG. Some files of other formats contain it too.
const PREFIX: &[u8] = b"Exif\0\0";

/// Reads the orientation from an EXIF block. XMP is only used if the block is missing or has no orientation. If the
/// orientation is not valid, or the block is not EXIF, the image is not transformed.
pub(crate) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let exif = exif.map(|exif| exif.strip_prefix(PREFIX).unwrap_or(exif)).filter(|exif| !exif.is_empty());
    match exif.map(Directory::of_block) {
        None => chosen(None, xmp),
        Some(Some(directory)) => chosen(directory.orientation(), xmp),
        Some(None) => Orientation::NoTransforms,
    }
}

/// The orientation with this number, or else that in XMP.
pub(crate) fn chosen(number: Option<u8>, xmp: Option<&[u8]>) -> Orientation {
    let number = number.or_else(|| xmp.and_then(xmp_value));
    number.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Removes the prefix that Pillow accepts before an EXIF block that has its own prefix.
pub(crate) fn without_prefix(exif: &[u8]) -> &[u8] {
    exif.strip_prefix(PREFIX).unwrap_or(exif)
}

/// The orientation in XMP: the digit after the first `tiff:Orientation="` or `tiff:Orientation>`, that is, of an
/// attribute or an element. XMP is text, and Pillow does not parse it either.
fn xmp_value(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let names = xmp.windows(NAME.len()).enumerate().filter(|(_, text)| *text == NAME);
    names.map(|(at, _)| &xmp[at + NAME.len()..]).find_map(|rest| match rest {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    })
}
