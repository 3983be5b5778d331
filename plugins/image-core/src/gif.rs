//! GIF, by the crate `gif`: decodes the first frame row by row, or the whole frame if it is interlaced.
//!
//! Pixels that the first frame does not cover have the colour that is transparent, or else the first colour of its
//! palette, and a frame beyond the screen enlarges the screen, as in Pillow. Without any palette, the indices are shades of
//! gray, also as in Pillow.

use std::io::Read as _;
use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use image::metadata::Orientation;

use crate::Settings;
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Colour, Output};
use crate::rows::{Rows, rows_bytes};

/// Bytes that the decoder holds in addition to pixels: its tables and buffers.
const DECODER_BYTES: u64 = 256 << 10;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let rejected = |error: DecodingError| rejected(limits, &error);
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(NonZeroU64::new(limits.max_bytes).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
    let (start, grays) = with_palette(body);
    let rest = &body[start.len()..];
    let mut decoder = options.read_info(start.as_slice().chain(&grays[..]).chain(rest)).map_err(rejected)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    // The frame is read only if the screen is within the limits.
    limits.check_size("GIF", screen.0, screen.1)?;
    let frame = decoder.next_frame_info().map_err(rejected)?;
    let frame = frame.ok_or_else(|| Rejected::broken("GIF", "it has no frame"))?;
    let (left, top) = (usize::from(frame.left), u32::from(frame.top));
    let (across, down) = (usize::from(frame.width), u32::from(frame.height));
    if across == 0 || down == 0 {
        return Err(Rejected::broken("GIF", "its first frame has no pixels"));
    }
    let (interlaced, background) = (frame.interlaced, frame.transparent.unwrap_or(0));
    let width = screen.0.max(u32::from(frame.left) + u32::from(frame.width));
    let height = screen.1.max(top + down);
    limits.check_size("GIF", width, height)?;
    let mut output = settings.output((width, height), Orientation::NoTransforms);
    let whole = if interlaced { down } else { 1 };
    let needed = across as u64 * u64::from(whole) + DECODER_BYTES + rows_bytes(width, height, output.y);
    limits.check_bytes("a GIF image", width, height, needed)?;

    let palette = decoder.palette().map_err(rejected)?.as_chunks::<3>().0.to_vec();
    let colour = |index: u8| {
        let colour = palette.get(usize::from(index)).copied();
        colour.ok_or_else(|| Rejected::broken("GIF", format!("colour {index} is not in the palette")))
    };
    let covered = left == 0 && top == 0 && across == width as usize && down == height;
    let background = if covered { [0; 3] } else { colour(background)? };
    if !covered && control_extensions(body) > 1 {
        return Err(Rejected::Unknown(
            "this GIF has several control extensions before its first frame, and the frame does not cover the image; only \
             one is supported then, because readers do not agree on the colour of the rest"
                .into(),
        ));
    }
    let mut indices = vec![0; across * whole as usize];
    if interlaced {
        decoder.read_into_buffer(&mut indices).map_err(rejected)?;
    }
    let mut rows = Rows::<L>::new(&mut output, width, height, Colour::Rgb);
    for y in 0..height {
        let row_in_frame = y.checked_sub(top).filter(|row| *row < down);
        if let (Some(_), false) = (row_in_frame, interlaced)
            && !decoder.fill_buffer(&mut indices).map_err(rejected)?
        {
            return Err(Rejected::broken("GIF", "its first frame has too little data"));
        }
        rows.push(|out| {
            let out = out.as_chunks_mut::<3>().0;
            out.fill(background);
            if let Some(row) = row_in_frame {
                let first = if interlaced { row as usize * across } else { 0 };
                for (out, index) in out[left..].iter_mut().zip(&indices[first..][..across]) {
                    *out = colour(*index)?;
                }
            }
            Ok::<(), Rejected>(())
        })?;
    }
    rows.finish();
    Ok(output)
}

/// Bytes of the header and the screen descriptor, after which the palette of the file follows. The flags are in byte 10.
const START_BYTES: usize = 13;
/// The flags that declare a palette of 256 colours.
const PALETTE_FLAGS: u8 = 0x87;

/// The start of the file, and the shades of gray that must follow it if the file has no palette. The decoder refuses frames
/// without any palette. Frames with their own do not use that of the file.
fn with_palette(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut start = body[..body.len().min(START_BYTES)].to_vec();
    match &mut start[..] {
        [.., flags, _, _] if body.len() >= START_BYTES && *flags & 0x80 == 0 => {
            *flags |= PALETTE_FLAGS;
            (start, (0..=255).flat_map(|gray| [gray; 3]).collect())
        }
        _ => (start, Vec::new()),
    }
}

/// The number of graphic control extensions before the first frame.
fn control_extensions(body: &[u8]) -> usize {
    let flags = body.get(10).copied().unwrap_or_default();
    let palette = if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) };
    let (mut count, mut at) = (0, START_BYTES + palette);
    // An extension: its kind, then blocks that begin with their length, up to an empty one.
    while let Some([0x21, kind]) = body.get(at..).and_then(|rest| rest.first_chunk()) {
        count += usize::from(*kind == 0xF9);
        at += 2;
        while let Some(&length @ 1..) = body.get(at) {
            at += 1 + usize::from(length);
        }
        at += 1;
    }
    count
}

fn rejected(limits: &Limits, error: &DecodingError) -> Rejected {
    match error {
        DecodingError::MemoryLimit | DecodingError::OutOfMemory => limits.exceeded("GIF", error),
        error => Rejected::broken("GIF", error),
    }
}
