//! Detects the format from the first bytes. File names and the Content-Type are ignored. Formats that are not supported
//! are detected too, so that the error can name them.

mod containers;
mod signatures;
mod text;

use crate::limits::Rejected;

/// The supported formats, by decoder.
pub(crate) enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

/// Detects the format of a body.
///
/// # Errors
/// [`Rejected::Broken`] if the body is empty, [`Rejected::Unknown`] if its format is not supported.
pub(crate) fn sniff(body: &[u8]) -> Result<Format, Rejected> {
    match body {
        [] => Err(Rejected::Broken("the body is empty; it must be an image".into())),
        [0xFF, 0xD8, 0xFF, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Ok(Format::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
        // A TIFF, but its first page is a preview of the photo.
        [b'I', b'I', b'*', 0, _, _, _, _, b'C', b'R', ..] => Err(unsupported("Canon CR2 (raw camera) images")),
        [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Ok(Format::Tiff),
        [b'B', b'M', rest @ ..] if !text::is_text(rest) => Ok(Format::Bmp),
        _ => Err(match signatures::name(body).or_else(|| containers::name(body)).or_else(|| text::name(body)) {
            Some(name) => unsupported(name),
            None => Rejected::Unknown(format!("the body is not an image of a known format; {SEND}")),
        }),
    }
}

const SEND: &str = "send a JPEG, PNG, WebP, GIF, BMP or TIFF image";

/// The error for a format that is not supported; `name` is in the plural.
pub(crate) fn unsupported(name: &str) -> Rejected {
    Rejected::Unknown(format!("{name} are not supported; {SEND}"))
}
