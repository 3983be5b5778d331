//! WebP: decodes the whole image, then resizes its rows. The crate `image-webp` decodes lossy images.

mod animation;
mod container;
mod file;
mod vp8;
mod vp8l;

use image_webp::{DecodingError, WebPDecoder};

use crate::Settings;
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Colour, Output};
use crate::rows::{Rows, convert, rows_bytes};
use file::File;

/// Bytes that the decoder holds in addition to pixels: Huffman codes and probabilities. It also holds some for each
/// column.
const DECODER_BYTES: u64 = 512 << 10;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let rejected = |error: DecodingError| rejected(limits, error);
    let body = container::whole(body)?;
    let decoder = WebPDecoder::new(File::new(body)).map_err(rejected)?;
    let (width, height) = decoder.dimensions();
    limits.check_size("WebP", width, height)?;
    let mut output = settings.output((width, height), container::read_orientation(body));

    // The first frame of an animation is decoded as a separate image, because the decoder would blend it with a
    // background, which changes the colours of transparent pixels.
    let frame = if decoder.is_animated() { Some(animation::first_frame(body, (width, height))?) } else { None };
    let (left, top) = frame.as_ref().map_or((0, 0), |frame| (frame.left, frame.top));
    let still: &[u8] = frame.as_ref().map_or(body, |frame| &frame.image);
    let mut decoder = if frame.is_some() { WebPDecoder::new(File::new(still)).map_err(rejected)? } else { decoder };
    let (across, down) = decoder.dimensions();
    // The decoder allocates by the size in the data of the image, and compares it with that of the file only afterwards.
    let stored = container::stored(still)?;
    if stored.size()? != (across, down)
        || frame.as_ref().is_some_and(|frame| (frame.width, frame.height) != (across, down))
    {
        return Err(Rejected::broken("WebP", "its image has another size than the file"));
    }

    let needed = half_bytes(&mut decoder) * u64::from(across) * u64::from(down) / 2;
    // The decoder copies the compressed data, as does the frame.
    let copies = still.len() as u64 * if frame.is_some() { 2 } else { 1 };
    let needed = needed + copies + 256 * u64::from(across) + DECODER_BYTES + rows_bytes(width, height, output.y);
    let left_bytes = limits.check_bytes("a WebP image", width, height, needed)?;
    let mut memory = vp8l::Memory::new(*limits, left_bytes);
    let image = if stored.lossy {
        vp8::check(stored.data)?;
        if let Some(alpha) = stored.alpha {
            vp8l::check_alpha(alpha, (across, down), &mut memory)?;
        }
        decoder.set_memory_limit(usize::try_from(left_bytes).unwrap_or(usize::MAX));
        let size = decoder.output_buffer_size().ok_or_else(|| limits.exceeded("WebP", "it is too large"))?;
        let mut image = vec![0; size];
        decoder.read_image(&mut image).map_err(rejected)?;
        if decoder.has_alpha() { Image::WithAlpha(image) } else { Image::Rgb(image) }
    } else {
        Image::Lossless(vp8l::decode(stored.data, (across, down), &mut memory)?)
    };

    let mut rows = Rows::<L>::new(&mut output, width, height, Colour::Rgb);
    for y in 0..height {
        let row_in_frame = y.checked_sub(top).filter(|row| *row < down);
        let copied: Result<(), Rejected> = rows.push(|row| {
            if across < width || row_in_frame.is_none() {
                // Pixels beside the frame are transparent black.
                row.fill(0);
            }
            if let Some(y) = row_in_frame {
                image.copy_row((y * across) as usize, &mut row[3 * left as usize..][..3 * across as usize]);
            }
            Ok(())
        });
        copied?;
    }
    rows.finish();
    Ok(output)
}

/// A decoded image.
enum Image {
    Rgb(Vec<u8>),
    WithAlpha(Vec<u8>),
    /// Alpha, red, green and blue, beginning at the highest bits.
    Lossless(Vec<u32>),
}

impl Image {
    /// Copies the colours of the pixels that begin at `first`.
    fn copy_row(&self, first: usize, row: &mut [u8]) {
        match self {
            Image::Rgb(bytes) => row.copy_from_slice(&bytes[3 * first..][..row.len()]),
            Image::WithAlpha(bytes) => convert::<u8, 4, 3>(&bytes[4 * first..], row),
            Image::Lossless(pixels) => {
                for (pixel, out) in pixels[first..].iter().zip(row.as_chunks_mut().0) {
                    let [blue, green, red, _] = pixel.to_le_bytes();
                    *out = [red, green, blue];
                }
            }
        }
    }
}

/// The decoder's peak memory for each pixel, including the result, in half bytes.
fn half_bytes(decoder: &mut WebPDecoder<File<'_>>) -> u64 {
    match (decoder.is_lossy(), decoder.has_alpha()) {
        // Luma, and two chroma samples for every four pixels.
        (true, false) => 6 + 3,
        // The same, and alpha, which is decoded like a complete lossless image.
        (true, true) => 8 + 3 + 2 + 8,
        // What transforms and codes need is added when it is known.
        (false, _) => 8,
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
