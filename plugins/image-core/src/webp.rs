//! WebP, by the crate `image-webp`: decodes the whole image, then resizes its rows.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Colour, Output};
use crate::rows::{Rows, convert, rows_bytes};
use crate::{Settings, orientation};

/// Bytes that the decoder holds in addition to pixels: Huffman codes and probabilities.
const DECODER_BYTES: u64 = 512 << 10;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let rejected = |error: DecodingError| rejected(limits, error);
    let mut decoder = WebPDecoder::new(Cursor::new(body)).map_err(rejected)?;
    let (width, height) = decoder.dimensions();
    limits.check_size("WebP", width, height)?;
    let exif = decoder.exif_metadata().ok().flatten();
    let mut output = settings.output((width, height), orientation(exif.as_deref()));

    let needed = half_bytes(&mut decoder) * u64::from(width) * u64::from(height) / 2;
    let needed = needed + DECODER_BYTES + rows_bytes(width, height, output.y);
    let left = limits.check_bytes("a WebP image", width, height, needed)?;
    decoder.set_memory_limit(usize::try_from(left).unwrap_or(usize::MAX));
    let size = decoder.output_buffer_size().ok_or_else(|| limits.exceeded("WebP", "it is too large"))?;
    let mut image = vec![0; size];
    decoder.read_image(&mut image).map_err(rejected)?;

    let pixel = if decoder.has_alpha() { 4 } else { 3 };
    let mut rows = Rows::<L>::new(&mut output, width, height, Colour::Rgb);
    for source in image.chunks_exact(pixel * width as usize) {
        let copied: Result<(), Rejected> = rows.push(|row| {
            if pixel == 4 {
                convert::<u8, 4, 3>(source, row)
            } else {
                row.copy_from_slice(source)
            }
            Ok(())
        });
        copied?;
    }
    rows.finish();
    Ok(output)
}

/// The decoder's peak memory for each pixel, including the result, in half bytes.
fn half_bytes(decoder: &mut WebPDecoder<Cursor<&[u8]>>) -> u64 {
    let result = if decoder.has_alpha() { 8 } else { 6 };
    if decoder.is_animated() {
        // A canvas and a frame of four bytes per pixel each.
        return result + 16;
    }
    match (decoder.is_lossy(), decoder.has_alpha()) {
        // Luma, and two chroma samples for every four pixels.
        (true, false) => result + 3,
        // The same, and alpha, which is decoded like a complete lossless image.
        (true, true) => result + 3 + 2 + 8,
        // A lossless image without alpha is first decoded with alpha.
        (false, false) => result + 8,
        (false, true) => result,
    }
}

fn rejected(limits: &Limits, error: DecodingError) -> Rejected {
    match error {
        DecodingError::MemoryLimitExceeded | DecodingError::ImageTooLarge => limits.exceeded("WebP", error),
        DecodingError::UnsupportedFeature(feature) => {
            Rejected::Unknown(format!("WebP images with {feature} are not supported"))
        }
        error => Rejected::broken("WebP", error),
    }
}
