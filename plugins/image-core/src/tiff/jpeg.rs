//! Strips and tiles that are JPEG images (TIFF Technical Note 2). Their tables may be in a tag of the file; their colours
//! are declared by the TIFF and not by markers.

use super::broken;
use super::layout::Layout;
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Channels, Dtype, Elements, Pack};
use crate::{Mode, Settings, Target};

/// Estimates the bytes of the result: the samples of a strip or tile, which may extend to whole blocks. The decoder checks
/// the limit itself.
pub(super) fn estimated_bytes(layout: &Layout<'_>) -> u64 {
    let row = (u64::from(layout.chunk_width) + 64) * layout.chunk_samples() as u64;
    row.saturating_mul(u64::from(layout.chunk_height.min(65_535)) + 64)
}

/// Decodes a strip or tile to its samples; those of YCbCr in one plane are converted to red, green and blue. `left` is
/// the number of bytes that may be allocated in addition to the estimate.
pub(super) fn decode<L: Lanes>(layout: &Layout<'_>, chunk: &[u8], lines: u32, left: u64) -> Result<Vec<u8>, Rejected> {
    let samples = layout.chunk_samples();
    let mut image = vec![0xFF, 0xD8];
    if samples == 3 {
        // An Adobe segment; its last byte declares YCbCr or RGB.
        image.extend_from_slice(b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0");
        image.push(u8::from(layout.jpeg_ycbcr));
    }
    if !layout.jpeg_tables.is_empty() {
        append(layout.jpeg_tables, &mut image)?;
    }
    let frame = append(chunk, &mut image)?.ok_or_else(|| broken("a strip or tile is a JPEG image without a frame"))?;
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    if width != layout.chunk_width
        || height < lines
        || height > layout.chunk_height
        || usize::from(frame.components) != samples
    {
        return Err(broken(format!(
            "a strip or tile is a JPEG image of {width} x {height} pixels and {} sample(s) instead of {} x {lines} and \
             {samples}",
            frame.components, layout.chunk_width
        )));
    }
    // libtiff refuses it too: nearly always it is YCbCr that is declared as RGB.
    if samples == 3 && !layout.jpeg_ycbcr && frame.subsampled {
        return Err(super::unsupported(
            "JPEG with 3 components that are not converted, and subsampling",
            "JPEG without subsampling, and subsampled JPEG that is declared as YCbCr",
        ));
    }
    if samples == 4 { four_samples::<L>(&image, left) } else { other::<L>(&frame, &image, left) }
}

/// Decodes gray, RGB or YCbCr, at the size of the strip or tile.
fn other<L: Lanes>(frame: &Frame, image: &[u8], left: u64) -> Result<Vec<u8>, Rejected> {
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    let settings = Settings {
        target: Target { width, height, mode: Mode::Stretch, shorter: None },
        pack: Pack {
            width,
            height,
            order: if frame.components == 1 { Channels::Gray } else { Channels::Rgb },
            layout: crate::output::Layout::Nhwc,
            invert: false,
            pad: 0,
            mean: [0.0; 3],
            scale: [1.0; 3],
            dtype: Dtype::U8,
        },
        limits: Limits { max_pixels: u64::MAX, max_bytes: left },
        draft: false,
    };
    let output = crate::jpeg::prepare::<L>(image, &settings).map_err(of_chunk)?;
    match output.finish().0 {
        Elements::U8(samples) => Ok(samples),
        // The settings ask for bytes.
        Elements::F32(_) | Elements::F16(_) | Elements::Bf16(_) => Err(broken("a strip or tile has no bytes")),
    }
}

/// Decodes CMYK, and RGB with another sample, without a conversion.
fn four_samples<L: Lanes>(image: &[u8], left: u64) -> Result<Vec<u8>, Rejected> {
    crate::jpeg::samples::<L>(image, &Limits { max_pixels: u64::MAX, max_bytes: left }).map_err(of_chunk)
}

/// Says that a strip or tile was rejected.
fn of_chunk(rejected: Rejected) -> Rejected {
    match rejected {
        Rejected::Unknown(text) => Rejected::Unknown(format!("a strip or tile of this TIFF: {text}")),
        Rejected::Broken(text) => broken(format!("a strip or tile: {text}")),
        Rejected::TooLarge(text) => Rejected::TooLarge(format!("a strip or tile of this TIFF: {text}")),
    }
}

/// What the frame header declares.
struct Frame {
    width: u16,
    height: u16,
    components: u8,
    /// True if the sampling factors of a component are not 1 x 1.
    subsampled: bool,
}

/// Appends the segments and the coded data of a JPEG image, but not its markers SOI and EOI, and not its
/// application segments, because they could declare another colour space. Returns the frame if there is coded data.
fn append(from: &[u8], image: &mut Vec<u8>) -> Result<Option<Frame>, Rejected> {
    let mut rest = from.strip_prefix(&[0xFF, 0xD8]).ok_or_else(|| broken("a strip or tile is not a JPEG image"))?;
    let mut frame = None;
    loop {
        match rest {
            [] | [0xFF, 0xD9, ..] | [0xFF] => return Ok(None),
            [0xFF, 0xFF, ..] => rest = &rest[1..],
            // The coded data and all that follows it.
            [0xFF, 0xDA, ..] => {
                image.extend_from_slice(rest);
                return Ok(frame);
            }
            [0xFF, marker, high, low, ..] => {
                let length = 2 + usize::from(u16::from_be_bytes([*high, *low]));
                let segment = rest.get(..length).ok_or_else(|| broken("a JPEG segment is too short"))?;
                if matches!(marker, 0xC0..=0xCF)
                    && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
                    && let [_, _, _, _, _, y1, y0, x1, x0, components, ref factors @ ..] = *segment
                {
                    frame = Some(Frame {
                        width: u16::from_be_bytes([x1, x0]),
                        height: u16::from_be_bytes([y1, y0]),
                        components,
                        // An identifier, the factors and a table for each component.
                        subsampled: factors.chunks(3).any(|it| it.get(1).is_some_and(|factors| *factors != 0x11)),
                    });
                }
                if !matches!(marker, 0xE0..=0xEF | 0xFE) {
                    image.extend_from_slice(segment);
                }
                rest = &rest[length..];
            }
            _ => return Err(broken("a strip or tile is not a JPEG image")),
        }
    }
}
