//! Decodes a lossless image (RFC 9649, section 3). The crate `image-webp` is not used for it: version 0.2.4 gives other
//! pixels than the specification if a prefix code lists its two symbols in descending order or one symbol twice, and
//! other pixels than libwebp if a predictor is 16 or more or an unused entry of the colour cache is read.

mod bits;
mod codes;
mod inverse;
mod memory;
mod pixels;
mod predictors;
#[cfg(test)]
mod tests;

use super::container::truncated;
use crate::limits::Rejected;
use bits::Bits;
use inverse::Palette;
pub(super) use memory::Memory;

/// The side of the blocks of a transform or of an image of prefix codes, as a power of two.
#[derive(Clone, Copy)]
struct Blocks(u32);

impl Blocks {
    /// Reads the size (sections 4.1 and 6.2.2).
    fn read(bits: &mut Bits<'_>) -> Self {
        Blocks(bits.number(3) + 2)
    }

    /// The number of blocks that cover this many pixels.
    fn cover(self, pixels: usize) -> usize {
        pixels.div_ceil(1 << self.0)
    }
}

/// A transform, and the width of the image that it applies to.
enum Transform {
    Predict { blocks: Blocks, width: usize, data: Vec<u32> },
    Colour { blocks: Blocks, width: usize, data: Vec<u32> },
    Green,
    Palette { palette: Palette, width: usize },
}

/// Decodes the data of a `VP8L` chunk whose head was checked, and which has this size. A pixel is alpha, red, green and
/// blue, beginning at the highest bits. The pixels themselves are not taken from `memory`, all else is.
///
/// # Errors
/// If the data are not as specified, end early, or need more memory.
pub(super) fn decode(data: &[u8], size: (u32, u32), memory: &mut Memory) -> Result<Vec<u32>, Rejected> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    // The signature, the two sides, a flag and the version.
    let (transforms, mut image) = read(data.get(5..).ok_or_else(truncated)?, width, height, memory)?;
    for transform in transforms.into_iter().rev() {
        match transform {
            Transform::Predict { blocks, width, data } => predictors::undo(&mut image, width, blocks, &data),
            Transform::Colour { blocks, width, data } => inverse::colour(&mut image, width, blocks, &data),
            Transform::Green => inverse::green(&mut image),
            Transform::Palette { palette, width } => image = palette.apply(image, width, height),
        }
    }
    Ok(image)
}

/// Checks the data of a chunk `ALPH` of an image of this size. The colours do not depend on them, but libwebp refuses an
/// image whose alpha is damaged.
///
/// # Errors
/// Those of [`decode`].
pub(super) fn check_alpha(data: &[u8], size: (u32, u32), memory: &mut Memory) -> Result<(), Rejected> {
    let (head, data) = data.split_first().ok_or_else(truncated)?;
    let (width, height) = (size.0 as usize, size.1 as usize);
    // Compression, filter, preprocessing and reserved bits, beginning with the lowest two.
    match (head & 3, head >> 4) {
        (0, 0 | 1) if data.len() < width * height => Err(truncated()),
        (0, 0 | 1) => Ok(()),
        (1, 0 | 1) => read(data, width, height, memory).map(drop),
        _ => Err(broken("its alpha is stored in an unknown way")),
    }
}

/// Reads the transforms, and the image that they were applied to.
fn read(data: &[u8], width: usize, height: usize, memory: &mut Memory) -> Result<(Vec<Transform>, Vec<u32>), Rejected> {
    let mut bits = Bits::new(data);
    let (transforms, stored) = read_transforms(&mut bits, width, height, memory)?;
    if stored < width {
        memory.take::<u32>(stored * height)?;
    }
    let image = pixels::read(&mut bits, (stored, height), true, memory)?;
    Ok((transforms, image))
}

/// Reads the transforms (section 4), and the width of the image that is stored.
fn read_transforms(
    bits: &mut Bits<'_>,
    mut width: usize,
    height: usize,
    memory: &mut Memory,
) -> Result<(Vec<Transform>, usize), Rejected> {
    let (mut transforms, mut seen) = (Vec::new(), [false; 4]);
    while bits.flag() {
        let kind = bits.number(2) as usize;
        if std::mem::replace(&mut seen[kind], true) {
            return Err(broken("it has the same transform twice"));
        }
        let mut blocks = |bits: &mut Bits<'_>| {
            let blocks = Blocks::read(bits);
            let size = (blocks.cover(width), blocks.cover(height));
            memory.take::<u32>(size.0 * size.1)?;
            Ok::<_, Rejected>((blocks, pixels::read(bits, size, false, memory)?))
        };
        transforms.push(match kind {
            0 => {
                let (blocks, data) = blocks(bits)?;
                Transform::Predict { blocks, width, data }
            }
            1 => {
                let (blocks, data) = blocks(bits)?;
                Transform::Colour { blocks, width, data }
            }
            2 => Transform::Green,
            _ => {
                let colours = bits.number(8) as usize + 1;
                let palette = Palette::new(&pixels::read(bits, (colours, 1), false, memory)?);
                let transform = Transform::Palette { width, palette };
                width = Palette::blocks(colours).cover(width);
                transform
            }
        });
    }
    if bits.ended() { Err(truncated()) } else { Ok((transforms, width)) }
}

fn broken(text: &str) -> Rejected {
    Rejected::broken("WebP", text)
}
