//! The map as a PNG with a palette.

use crate::raster::{NO_CLASS, Raster};

/// The file. Its indices are the classes; 255 is a pixel without a class.
///
/// # Errors
/// If the image cannot be encoded.
pub fn png(raster: &Raster) -> Result<Vec<u8>, String> {
    let failed = |error: png::EncodingError| format!("the PNG cannot be written: {error}");
    let (width, height) = raster.size();
    let (columns, rows) = raster.blocks();
    let mut pixels = Vec::with_capacity(width as usize * height as usize);
    for row in 0..rows {
        let first = pixels.len();
        for column in 0..columns {
            let class = raster.class(column, row);
            // The number of classes was checked.
            let index = if class == NO_CLASS { 255 } else { class as u8 };
            pixels.resize(pixels.len() + (raster.left(column + 1) - raster.left(column)) as usize, index);
        }
        let line = first..pixels.len();
        for _ in raster.top(row) + 1..raster.top(row + 1) {
            pixels.extend_from_within(line.clone());
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette());
    // Indices are not numbers that predict their neighbours.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

/// The colours of PASCAL VOC (`VOClabelcolormap` of its development kit): the bits of the index, three by three, are the
/// upper bits of red, green and blue.
fn palette() -> Vec<u8> {
    let channel = |index: u8, channel: u8| {
        (0..8 / 3 + 1).fold(0, |colour, bits: u8| {
            let shift = 3 * bits + channel;
            let bit = if shift < 8 { index >> shift & 1 } else { 0 };
            colour | bit << (7 - bits)
        })
    };
    (0..=255).flat_map(|index| [channel(index, 0), channel(index, 1), channel(index, 2)]).collect()
}
