//! Detects the format from the first bytes. File names and the Content-Type are ignored.

use image::ImageFormat;

use crate::limits::Rejected;

/// The supported formats, by decoder.
pub(crate) enum Format {
    Jpeg,
    Png,
    WebP,
    /// GIF, BMP and TIFF.
    Other(ImageFormat),
}

/// Detects the format of a body.
///
/// # Errors
/// [`Rejected::Broken`] if the body is empty, [`Rejected::Unknown`] if its format is not supported.
pub(crate) fn sniff(body: &[u8]) -> Result<Format, Rejected> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if body.is_empty() {
        return Err(Rejected::Broken("the body is empty; it must be an image".into()));
    }
    // BigTIFF: the decoder supports it, but `guess_format` does not recognise it.
    if body.starts_with(b"II+\0") || body.starts_with(b"MM\0+") {
        return Ok(Format::Other(Tiff));
    }
    match image::guess_format(body) {
        Ok(Jpeg) => Ok(Format::Jpeg),
        Ok(Png) => Ok(Format::Png),
        Ok(WebP) => Ok(Format::WebP),
        Ok(format @ (Bmp | Gif | Tiff)) => Ok(Format::Other(format)),
        Ok(other) => Err(Rejected::Unknown(format!(
            "{other:?} images are not supported; send a JPEG, PNG, WebP, GIF, BMP or TIFF image"
        ))),
        Err(_) => Err(Rejected::Unknown(
            "the body is not an image of a known format; send a JPEG, PNG, WebP, GIF, BMP or TIFF image".into(),
        )),
    }
}
