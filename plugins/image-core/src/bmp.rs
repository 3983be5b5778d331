//! BMP, by the crate `image`: decodes the whole image, then resizes its rows.

mod indices;

use std::error::Error;
use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::error::UnsupportedErrorKind;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError};

use crate::Settings;
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Colour, Output};
use crate::rows::{Rows, convert, rows_bytes};

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let rejected = |error: ImageError| rejected(limits, &error);
    let runs = check_header(body)?;
    let mut budget = image::Limits::no_limits();
    budget.max_alloc = Some(limits.max_bytes);
    let mut decoder = BmpDecoder::new(Cursor::new(body)).map_err(rejected)?;
    let (width, height) = decoder.dimensions();
    limits.check_size("BMP", width, height)?;
    match runs {
        Some(runs) => runs.check(width, height)?,
        None => indices::check(body, width, height)?,
    }
    let mut output = settings.output((width, height), Orientation::NoTransforms);
    let needed = decoder.total_bytes().saturating_add(rows_bytes(width, height, output.y));
    // The decoder counts only memory in addition to the pixels.
    budget.max_alloc = Some(limits.check_bytes("a BMP image", width, height, needed)?);
    decoder.set_limits(budget).map_err(rejected)?;
    let alpha = match decoder.color_type() {
        ColorType::Rgb8 => false,
        ColorType::Rgba8 => true,
        _ => return Err(Rejected::Unknown("this BMP cannot be read: its pixels are neither RGB nor RGBA".into())),
    };
    let mut image = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut image).map_err(rejected)?;
    let mut rows = Rows::<L>::new(&mut output, width, height, Colour::Rgb);
    for source in image.chunks_exact(if alpha { 4 } else { 3 } * width as usize) {
        let copied: Result<(), Rejected> = rows.push(|row| {
            if alpha {
                convert::<u8, 4, 3>(source, row);
            } else {
                row.copy_from_slice(source);
            }
            Ok(())
        });
        copied?;
    }
    rows.finish();
    Ok(output)
}

/// The pixels of an image that is compressed as runs of 4 or 8 bits per pixel.
struct Runs<'a> {
    data: &'a [u8],
    wide: bool,
    /// The number of colours in the palette.
    colours: usize,
}

/// Refuses headers and compressions that are not supported, and returns the pixels if they are compressed as runs.
fn check_header(body: &[u8]) -> Result<Option<Runs<'_>>, Rejected> {
    let number = |at: usize| body.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let end = || Rejected::broken("BMP", "its header is too short");
    let header = number(14).ok_or_else(end)?;
    check_offset(body, header)?;
    if header == 12 {
        return Ok(None);
    }
    if !matches!(header, 40 | 52 | 56 | 108 | 124) {
        let kind = if matches!(header, 16 | 64) { "an OS/2 2.x header" } else { "a header" };
        return Err(Rejected::Unknown(format!(
            "this BMP uses {kind} of {header} bytes; only headers of 12, 40, 52, 56, 108 and 124 bytes are supported"
        )));
    }
    let name = match number(30).ok_or_else(end)? {
        0 | 3 => return Ok(None),
        kind @ (1 | 2) => {
            let data = body.get(number(10).ok_or_else(end)? as usize..).ok_or_else(end)?;
            return Ok(Some(Runs { data, wide: kind == 1, colours: indices::colours(body) }));
        }
        4 => "JPEG compression".to_owned(),
        5 => "PNG compression".to_owned(),
        6 => "masks with alpha in a header of 40 bytes".to_owned(),
        other => format!("compression {other}"),
    };
    Err(Rejected::Unknown(format!(
        "this BMP uses {name}; only uncompressed images, masks for red, green and blue, RLE4 and RLE8 are supported"
    )))
}

/// Refuses an image whose pixels would start inside the header or the palette. Readers do not agree on where the pixels
/// of such a file are.
fn check_offset(body: &[u8], header: u32) -> Result<(), Rejected> {
    let long = |at: usize| body.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it));
    let short = |at: usize| body.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |it| u16::from_le_bytes(*it));
    let bits = short(if header == 12 { 24 } else { 28 });
    let most = if bits <= 8 { 1_u64 << bits } else { 0 };
    let palette = match (header, long(46)) {
        // The header of OS/2 1.x does not say how many colours there are, and some files have fewer than they could.
        (12, _) => 3 * most.min(1),
        (_, 0) => 4 * most,
        (_, used) => 4 * most.min(used.into()),
    };
    // The masks of red, green and blue follow the oldest header.
    let masks = if header == 40 && long(30) == 3 { 12 } else { 0 };
    let first = 14 + u64::from(header) + masks + palette;
    let given = long(10);
    if u64::from(given) < first {
        let text = format!("its pixels would start at byte {given}, inside its header or palette");
        return Err(Rejected::broken("BMP", text));
    }
    Ok(())
}

impl Runs<'_> {
    /// Refuses images whose runs leave pixels out, or have colours that are not in the palette. Readers do not agree on
    /// the colour of these pixels.
    fn check(&self, width: u32, height: u32) -> Result<(), Rejected> {
        let left_out = || {
            Rejected::Unknown(
                "this BMP uses RLE codes that leave pixels out; only images with all pixels are supported".into(),
            )
        };
        let (mut x, mut y, mut at) = (0_u32, 0_u32, 0_usize);
        // The decoder reports missing data.
        while let Some([count, value]) = self.data.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
            at += 2;
            match (count, value) {
                // The end of a row, which some writers repeat at the end of the last row.
                (0, 0) if x < width => return Err(left_out()),
                (0, 0) => (x, y) = (0, y + 1),
                // The end of the image; the end of the last row may be omitted.
                (0, 1) if y >= height || y + 1 == height && x >= width => return Ok(()),
                (0, 1 | 2) => return Err(left_out()),
                // Pixels that are not a run; their bytes are padded to a multiple of two.
                (0, pixels) => {
                    let bytes = if self.wide { usize::from(*pixels) } else { usize::from(*pixels).div_ceil(2) };
                    let values = self.data.get(at..at + bytes).unwrap_or_default();
                    indices::check_row(values, usize::from(*pixels), if self.wide { 8 } else { 4 }, self.colours)?;
                    at += bytes.next_multiple_of(2);
                    x = x.saturating_add(u32::from(*pixels));
                }
                (pixels, value) => {
                    // A run of 4 bits per pixel repeats two colours.
                    let (repeated, bits) = if self.wide { (1, 8) } else { (*pixels.min(&2), 4) };
                    indices::check_row(&[*value], usize::from(repeated), bits, self.colours)?;
                    x = x.saturating_add(u32::from(*pixels));
                }
            }
            if y >= height && x == 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn rejected(limits: &Limits, error: &ImageError) -> Rejected {
    match error {
        ImageError::Limits(error) => limits.exceeded("BMP", error),
        ImageError::Unsupported(error) => {
            let feature = match error.kind() {
                UnsupportedErrorKind::GenericFeature(feature) => feature,
                _ => "a feature that is not supported".into(),
            };
            Rejected::Unknown(format!("this BMP cannot be read: {feature}"))
        }
        // The error that is wrapped, without the words "Format error decoding".
        error => match error.source() {
            Some(error) => Rejected::broken("BMP", error),
            None => Rejected::broken("BMP", error),
        },
    }
}
