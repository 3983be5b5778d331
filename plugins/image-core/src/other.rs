//! GIF, BMP and TIFF, by the crate `image`: decodes the whole image, then resizes its rows.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::Settings;
use crate::lanes::Lanes;
use crate::limits::{Limits, Rejected};
use crate::output::{Colour, Output};
use crate::rows::{Rows, copy_row, rows_bytes};

pub(crate) fn prepare<'a, L: Lanes>(
    body: &[u8],
    format: ImageFormat,
    settings: &'a Settings,
) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let rejected = |error: ImageError| rejected(format, limits, &error);
    let mut budget = image::Limits::no_limits();
    budget.max_alloc = Some(limits.max_bytes);
    let mut reader = ImageReader::with_format(Cursor::new(body), format);
    reader.limits(budget.clone());
    let mut decoder = reader.into_decoder().map_err(rejected)?;
    let (width, height) = decoder.dimensions();
    limits.check_size(&format!("{format:?}"), width, height)?;
    let mut output = settings.output((width, height), decoder.orientation().unwrap_or(Orientation::NoTransforms));
    let pixels = decoder.total_bytes();
    // The TIFF decoder holds a second copy of the pixels.
    let copies = if format == ImageFormat::Tiff { 2 } else { 1 };
    let needed = pixels.saturating_mul(copies).saturating_add(rows_bytes(width, height, output.y));
    let left = limits.check_bytes(&format!("the {format:?} image"), width, height, needed)?;
    // The TIFF decoder deducts its own copy from the budget. The other decoders count only memory in addition to the
    // pixels.
    budget.max_alloc = Some(left + pixels * (copies - 1));
    decoder.set_limits(budget).map_err(rejected)?;
    let image = DynamicImage::from_decoder(decoder).map_err(rejected)?;
    let colour = if image.color().has_color() { Colour::Rgb } else { Colour::Gray };
    let mut rows = Rows::<L>::new(&mut output, width, height, colour);
    for y in 0..height {
        let copied: Result<(), Rejected> = rows.push(|row| {
            if colour == Colour::Gray {
                copy_row::<1>(&image, y, row)
            } else {
                copy_row::<3>(&image, y, row)
            }
            Ok(())
        });
        copied?;
    }
    rows.finish();
    Ok(output)
}

fn rejected(format: ImageFormat, limits: &Limits, error: &ImageError) -> Rejected {
    match error {
        ImageError::Limits(error) => limits.exceeded(&format!("{format:?}"), error),
        ImageError::Unsupported(error) => Rejected::Unknown(error.to_string()),
        error => Rejected::broken(&format!("{format:?}"), error),
    }
}
