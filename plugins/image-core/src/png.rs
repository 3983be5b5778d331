//! PNG, by the crate `png`: decodes row by row, or the whole image if it is interlaced.

mod metadata;

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Reader, Transformations};

use crate::Settings;
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Colour, Output};
use crate::rows::{Rows, convert, convert_big_endian, rows_bytes};

/// Bytes that the decoder holds in addition to rows: two deflate windows and its buffers.
const DECODER_BYTES: u64 = 512 << 10;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let rejected = |error: DecodingError| rejected(limits, error);
    let bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(Cursor::new(body), png::Limits { bytes });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // By default, the crate does not compare the checksum of the pixels, and damaged data become wrong pixels.
    decoder.ignore_checksums(false);
    metadata::check_palette(body)?;
    let (width, height) = decoder.read_header_info().map_err(rejected)?.size();
    limits.check_size("PNG", width, height)?;
    let mut reader = decoder.read_info().map_err(rejected)?;
    let mut output = settings.output((width, height), metadata::read_orientation(body)?);

    let interlaced = reader.info().interlaced;
    let row_bytes = reader.output_line_size(width).unwrap_or(usize::MAX);
    let whole = if interlaced { row_bytes as u64 * u64::from(height) } else { 4 * row_bytes as u64 };
    let needed = whole.saturating_add(DECODER_BYTES + rows_bytes(width, height, output.y));
    let kind = if interlaced { "an interlaced PNG image" } else { "a PNG image" };
    limits.check_bytes(kind, width, height, needed)?;

    let (samples, depth) = reader.output_color_type();
    let gray = matches!(samples, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    let colour = if gray { Colour::Gray } else { Colour::Rgb };
    let mut rows = Rows::<L>::new(&mut output, width, height, colour);
    if interlaced {
        let mut image = vec![0; row_bytes * height as usize];
        reader.next_frame(&mut image).map_err(rejected)?;
        for source in image.chunks_exact(row_bytes) {
            rows.push(|row| copy(source, samples, depth, row))?;
        }
    } else if (samples, depth) == (ColorType::Rgb, BitDepth::Eight)
        || (samples, depth) == (ColorType::Grayscale, BitDepth::Eight)
    {
        for _ in 0..height {
            rows.push(|row| next_row(&mut reader, row).map_err(rejected))?;
        }
    } else {
        let mut source = vec![0; row_bytes];
        for _ in 0..height {
            next_row(&mut reader, &mut source).map_err(rejected)?;
            rows.push(|row| copy(&source, samples, depth, row))?;
        }
    }
    rows.finish();
    // All rows may be present although the end of the file is missing.
    reader.next_row().map_err(rejected)?;
    Ok(output)
}

fn next_row(reader: &mut Reader<Cursor<&[u8]>>, row: &mut [u8]) -> Result<(), DecodingError> {
    reader.read_row(row).map(drop)
}

fn copy(source: &[u8], samples: ColorType, depth: BitDepth, row: &mut [u8]) -> Result<(), Rejected> {
    match (samples, depth) {
        (ColorType::Grayscale, BitDepth::Eight) | (ColorType::Rgb, BitDepth::Eight) => row.copy_from_slice(source),
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => convert::<u8, 2, 1>(source, row),
        (ColorType::Rgba, BitDepth::Eight) => convert::<u8, 4, 3>(source, row),
        (ColorType::Grayscale, BitDepth::Sixteen) => convert_big_endian::<1, 1>(source, row),
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => convert_big_endian::<2, 1>(source, row),
        (ColorType::Rgb, BitDepth::Sixteen) => convert_big_endian::<3, 3>(source, row),
        (ColorType::Rgba, BitDepth::Sixteen) => convert_big_endian::<4, 3>(source, row),
        // Not reached by smaller samples and palettes, because the decoder expands them.
        _ => {
            let bits = depth as u8;
            return Err(Rejected::Unknown(format!("this PNG cannot be read: it has samples of {bits} bits")));
        }
    }
    Ok(())
}

fn rejected(limits: &Limits, error: DecodingError) -> Rejected {
    match error {
        DecodingError::LimitsExceeded => limits.exceeded("PNG", "its chunks are too large"),
        error => Rejected::broken("PNG", message(&error.to_string())),
    }
}

/// The crate's message in words; it contains the names of its types.
fn message(error: &str) -> String {
    if error.starts_with("Corrupt deflate stream") {
        return "its compressed data is damaged".into();
    }
    if error.starts_with("Invalid color/depth combination") {
        return "its colour type cannot have its number of bits".into();
    }
    if error.starts_with("Transparency chunk found") {
        return "its colour type cannot have a tRNS chunk".into();
    }
    // `ChunkType { type: IDAT, critical: true, ... }`
    match error.split_once("ChunkType { type: ").and_then(|(before, rest)| Some((before, rest.split_once(" }")?))) {
        Some((before, (chunk, after))) => {
            format!("{before}{}{after}", chunk.split_once(", ").map_or(chunk, |(name, _)| name))
        }
        None => error.into(),
    }
}
