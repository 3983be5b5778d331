//! The format by the first bytes; neither a name nor a Content-Type counts.

use image::ImageFormat;

use crate::limits::Rejected;

/// A format that is read here, by how it is decoded.
pub(crate) enum Format {
    Jpeg,
    Png,
    WebP,
    /// GIF, BMP and TIFF.
    Other(ImageFormat),
}

/// The format of a body.
///
/// # Errors
/// [`Rejected::Broken`] for an empty body, else [`Rejected::Unknown`].
pub(crate) fn sniff(body: &[u8]) -> Result<Format, Rejected> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if body.is_empty() {
        return Err(Rejected::Broken("the body is empty; it must be an image".into()));
    }
    // BigTIFF, which the decoder reads, but which is not recognised.
    if body.starts_with(b"II+\0") || body.starts_with(b"MM\0+") {
        return Ok(Format::Other(Tiff));
    }
    match image::guess_format(body) {
        Ok(Jpeg) => Ok(Format::Jpeg),
        Ok(Png) => Ok(Format::Png),
        Ok(WebP) => Ok(Format::WebP),
        Ok(format @ (Bmp | Gif | Tiff)) => Ok(Format::Other(format)),
        Ok(other) => {
            Err(Rejected::Unknown(format!("the body is {other:?}; JPEG, PNG, WebP, GIF, BMP and TIFF are read")))
        }
        Err(_) => {
            Err(Rejected::Unknown("the body is no known image; JPEG, PNG, WebP, GIF, BMP and TIFF are read".into()))
        }
    }
}
