//! Images that the streaming decoder does not support: CMYK images, sequential images with components in separate
//! scans, images that are enlarged, and broken images. `zune-jpeg` decodes the whole image, then its rows are resized.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{headers, side};
use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::{Colour, Output};
use crate::rows::{Rows, rows_bytes};
use crate::{Settings, orientation};

/// Bytes that the decoder holds in addition to pixels, coefficients and rows of samples: its tables.
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
    let (coefficients, samples) = decoder_bytes(body, width, height);
    let needed = channels * pixels + coefficients + samples + DECODER_BYTES + rows_bytes(width, height, output.y);
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

/// Bytes that the decoder allocates and does not count towards its limits: first the coefficients, then the samples of
/// one row of MCUs before they are converted to pixels. The coefficients take two bytes each and are kept until the
/// last scan if the scans do not have whole pixels (progressive, or one scan for each component).
fn decoder_bytes(body: &[u8], width: u32, height: u32) -> (u64, u64) {
    let (mut components, mut coefficients, mut samples) = (0, 0, 0);
    let mut at = 2;
    while let Some((marker, segment)) = headers::next_segment(body, &mut at) {
        match marker {
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                components = segment.get(5).copied().unwrap_or(0);
                let samplings = segment.get(6..).unwrap_or_default().chunks_exact(3).take(usize::from(components));
                let samplings: Vec<_> =
                    samplings.map(|it| (u64::from(it[1] >> 4).max(1), u64::from(it[1] & 15).max(1))).collect();
                let widest = samplings.iter().map(|it| it.0).max().unwrap_or(1);
                let tallest = samplings.iter().map(|it| it.1).max().unwrap_or(1);
                let mcus = u64::from(width).div_ceil(8 * widest) * u64::from(height).div_ceil(8 * tallest);
                coefficients = samplings.iter().map(|(across, down)| 128 * across * down * mcus).sum();
                let row = |across: u64| u64::from(width).div_ceil(8 * widest) * 8 * across;
                // Samples of two bytes, as allocated by zune-jpeg 0.5.15: 8 rows and 2 neighbouring rows, 16 upsampled
                // rows and 1 more, 8 rows of scratch.
                let kept = samplings.iter().map(|&(across, down)| {
                    let larger = widest.div_ceil(across) * tallest.div_ceil(down);
                    row(across) * (20 * down + 34 * down * larger)
                });
                samples = kept.sum::<u64>() + 16 * row(widest);
                if marker == 0xC2 {
                    return (coefficients, samples);
                }
            }
            0xDA if segment.first().copied().unwrap_or(0) < components => return (coefficients, samples),
            0xDA | 0xD9 => break,
            _ => {}
        }
    }
    (0, samples)
}
