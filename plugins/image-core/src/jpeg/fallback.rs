//! What is not streamed: progressive and CMYK images, components in scans of their own, and what is broken. `zune-jpeg`
//! decodes the whole image, and its rows are resized.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::side;
use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::{Colour, Output};
use crate::rows::{Rows, rows_bytes};
use crate::{Settings, orientation};

/// What the decoder keeps besides pixels and coefficients: tables, and rows of samples before they become pixels.
const DECODER_BYTES: u64 = 256 << 10;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let broken = |error| Rejected::broken("JPEG", format!("{error:?}"));
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(body), options);
    decoder.decode_headers().map_err(broken)?;
    let (width, height) = decoder.dimensions().map_or((0, 0), |(width, height)| (side(width), side(height)));
    settings.limits.check_size("JPEG", width, height)?;
    let orientation = orientation(decoder.exif().map(Vec::as_slice));
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    decoder.set_options(options.jpeg_set_out_colorspace(if gray { ColorSpace::Luma } else { ColorSpace::RGB }));

    let mut output = settings.output((width, height), orientation);
    let pixels = u64::from(width) * u64::from(height);
    let channels = if gray { 1 } else { 3 };
    let coefficients = coefficient_bytes(body, pixels);
    let needed = channels * pixels + coefficients + DECODER_BYTES + rows_bytes(width, height, output.y);
    let kind = if coefficients > 0 { "a progressive JPEG image" } else { "a JPEG image that cannot be streamed" };
    settings.limits.check_bytes(kind, width, height, needed)?;

    let mut image = vec![0; (channels * pixels) as usize];
    decoder.decode_into(&mut image).map_err(broken)?;

    let mut rows = Rows::<L>::new(&mut output, width, height, if gray { Colour::Gray } else { Colour::Rgb });
    for source in image.chunks_exact(channels as usize * width as usize) {
        let copied: Result<(), Rejected> = rows.push(|row| {
            row.copy_from_slice(source);
            Ok(())
        });
        copied?;
    }
    rows.finish();
    Ok(output)
}

/// The bytes that the coefficients of a JPEG take when its scans do not each hold whole pixels (progressive,
/// or one scan for each component): all of them are kept, two bytes each, until the last scan. The decoder
/// does not count them against its limits.
fn coefficient_bytes(body: &[u8], pixels: u64) -> u64 {
    let mut rest = body.get(2..).unwrap_or_default();
    let (mut components, mut kept) = (0, 0);
    while let [0xFF, marker, after @ ..] = rest {
        // Fill bytes, and markers without a segment.
        if matches!(marker, 0xFF | 0x01 | 0xD0..=0xD8) {
            rest = if *marker == 0xFF { &rest[1..] } else { after };
            continue;
        }
        let [high, low, segment @ ..] = after else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match marker {
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                components = segment.get(5).copied().unwrap_or(0);
                let samplings = segment.get(6..).unwrap_or_default().chunks_exact(3);
                let samplings = samplings.take(usize::from(components)).map(|it| (it[1] >> 4, it[1] & 15));
                let widest = samplings.clone().map(|(x, _)| u64::from(x)).max().unwrap_or(1).max(1);
                let tallest = samplings.clone().map(|(_, y)| u64::from(y)).max().unwrap_or(1).max(1);
                let sampled: u64 = samplings.map(|(x, y)| u64::from(x) * u64::from(y)).sum();
                kept = 2 * pixels * sampled / (widest * tallest);
                if *marker == 0xC2 {
                    return kept;
                }
            }
            0xDA => return if segment.first().copied().unwrap_or(0) < components { kept } else { 0 },
            _ => {}
        }
        rest = after.get(length..).unwrap_or_default();
    }
    kept
}
