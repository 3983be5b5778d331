//! Undoes the transforms of colours (sections 4.2 to 4.4).

use super::Blocks;

/// Adds the four parts of two pixels.
#[inline]
pub(super) fn add(a: u32, b: u32) -> u32 {
    const HALF: u32 = 0xFF00_FF00;
    ((a & HALF).wrapping_add(b & HALF) & HALF) | ((a & !HALF).wrapping_add(b & !HALF) & !HALF)
}

/// Undoes the subtraction of green from red and blue.
pub(super) fn green(image: &mut [u32]) {
    for pixel in image {
        let green = *pixel >> 8 & 0xFF;
        *pixel = add(*pixel, green << 16 | green);
    }
}

/// Undoes the transform that makes red and blue less like green; each block has its factors.
pub(super) fn colour(image: &mut [u32], width: usize, blocks: Blocks, data: &[u32]) {
    for (y, row) in image.chunks_mut(width).enumerate() {
        let factors = &data[(y >> blocks.0) * blocks.cover(width)..];
        for (pixels, factors) in row.chunks_mut(1 << blocks.0).zip(factors) {
            let [green_to_red, green_to_blue, red_to_blue, _] = factors.to_le_bytes();
            for pixel in pixels {
                let [blue, green, red, alpha] = pixel.to_le_bytes();
                let red = red.wrapping_add(product(green_to_red, green));
                let blue = blue.wrapping_add(product(green_to_blue, green)).wrapping_add(product(red_to_blue, red));
                *pixel = u32::from_le_bytes([blue, green, red, alpha]);
            }
        }
    }
}

#[inline]
fn product(factor: u8, value: u8) -> u8 {
    ((i32::from(factor.cast_signed()) * i32::from(value.cast_signed())) >> 5) as u8
}

/// A palette. Several indices are stored in one pixel if the palette is small.
pub(super) struct Palette {
    blocks: Blocks,
    /// As many as an index can say; those that are not stored are 0.
    colours: Vec<u32>,
}

impl Palette {
    /// `stored` has the difference of each colour to the one before it.
    pub(super) fn new(stored: &[u32]) -> Self {
        let blocks = Self::blocks(stored.len());
        let mut colours = vec![0; 1 << (8 >> blocks.0)];
        let mut last = 0;
        for (colour, difference) in colours.iter_mut().zip(stored) {
            last = add(last, *difference);
            *colour = last;
        }
        Palette { blocks, colours }
    }

    /// The number of indices in one pixel, for a palette of this size.
    pub(super) fn blocks(colours: usize) -> Blocks {
        Blocks(match colours {
            ..=2 => 3,
            3..=4 => 2,
            5..=16 => 1,
            _ => 0,
        })
    }

    /// Replaces indices, which are the green of the pixels, by colours.
    pub(super) fn apply(&self, mut image: Vec<u32>, width: usize, height: usize) -> Vec<u32> {
        if self.blocks.0 == 0 {
            for pixel in &mut image {
                *pixel = self.colours[(*pixel >> 8 & 0xFF) as usize];
            }
            return image;
        }
        let bits = 8 >> self.blocks.0;
        let mask = self.colours.len() - 1;
        let mut result = vec![0; width * height];
        for (row, packed) in result.chunks_mut(width).zip(image.chunks(self.blocks.cover(width))) {
            for (pixels, packed) in row.chunks_mut(1 << self.blocks.0).zip(packed) {
                let mut indices = (packed >> 8 & 0xFF) as usize;
                for pixel in pixels {
                    *pixel = self.colours[indices & mask];
                    indices >>= bits;
                }
            }
        }
        result
    }
}
