//! JPEG: streamed where it is baseline, and by `zune-jpeg` where it is not, or not sound.
//!
//! `zune-jpeg` reads the headers of every image, so that both ways refuse the same ones. What the streaming decoder does
//! not read, or finds broken on its way, is begun again by `zune-jpeg`, which alone decides what becomes of it.

mod bits;
mod fallback;
mod headers;
mod huffman;
mod idct;
mod scan;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::Output;
use crate::{Settings, orientation};

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let broken = |error| Rejected::broken("JPEG", format!("{error:?}"));
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(body), options);
    decoder.decode_headers().map_err(broken)?;
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = decoder.dimensions().map_or((0, 0), |(width, height)| (side(width), side(height)));
    limits.check_size("JPEG", width, height)?;
    let orientation = orientation(decoder.exif().map(Vec::as_slice));
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    drop(decoder);

    if let Some(headers) = headers::read(body) {
        let mut output = settings.output((width, height), orientation);
        // Where an image is enlarged, its colours are clamped before and not after; and it is small.
        if u64::from(width) >= output.x.full && u64::from(height) >= output.y.full {
            limits.check_bytes("a JPEG image", width, height, scan::bytes(&headers, &output))?;
            if scan::decode::<L>(body, &headers, settings, &mut output).is_ok() {
                return Ok(output);
            }
        }
    }
    fallback::prepare::<L>(body, settings, (width, height), orientation, gray)
}
