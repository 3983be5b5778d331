//! Rows of a decoded image as bytes, one or three to a pixel. Only a row at a time is converted, so an image
//! is never held twice.

use image::{DynamicImage, GenericImageView, Pixel};

/// A sample of a decoded image.
trait Sample: Copy {
    fn byte(self) -> u8;
}

impl Sample for u8 {
    fn byte(self) -> u8 {
        self
    }
}

impl Sample for u16 {
    fn byte(self) -> u8 {
        ((u32::from(self) + 128) / 257) as u8
    }
}

impl Sample for f32 {
    // The cast saturates, and NaN becomes 0.
    fn byte(self) -> u8 {
        (self * 255.0 + 0.5) as u8
    }
}

/// The row `y` in `C` bytes a pixel: 3 is RGB, 1 is gray. `scratch` holds it where it must be converted.
pub fn row<'a, const C: usize>(image: &'a DynamicImage, y: u32, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let width = image.width() as usize;
    scratch.resize(width * C, 0);
    let from = width * y as usize;
    match image {
        DynamicImage::ImageRgb8(it) if C == 3 => return &it.as_raw()[3 * from..3 * (from + width)],
        DynamicImage::ImageLuma8(it) if C == 1 => return &it.as_raw()[from..from + width],
        DynamicImage::ImageLuma8(it) => convert::<_, 1, C>(&it.as_raw()[from..], scratch),
        DynamicImage::ImageLumaA8(it) => convert::<_, 2, C>(&it.as_raw()[2 * from..], scratch),
        DynamicImage::ImageRgb8(it) => convert::<_, 3, C>(&it.as_raw()[3 * from..], scratch),
        DynamicImage::ImageRgba8(it) => convert::<_, 4, C>(&it.as_raw()[4 * from..], scratch),
        DynamicImage::ImageLuma16(it) => convert::<_, 1, C>(&it.as_raw()[from..], scratch),
        DynamicImage::ImageLumaA16(it) => convert::<_, 2, C>(&it.as_raw()[2 * from..], scratch),
        DynamicImage::ImageRgb16(it) => convert::<_, 3, C>(&it.as_raw()[3 * from..], scratch),
        DynamicImage::ImageRgba16(it) => convert::<_, 4, C>(&it.as_raw()[4 * from..], scratch),
        DynamicImage::ImageRgb32F(it) => convert::<_, 3, C>(&it.as_raw()[3 * from..], scratch),
        DynamicImage::ImageRgba32F(it) => convert::<_, 4, C>(&it.as_raw()[4 * from..], scratch),
        // A kind that a later version of the crate may add: slower, but right.
        other => {
            for (x, pixel) in (0..).zip(scratch.as_chunks_mut::<C>().0) {
                *pixel = colour(other.get_pixel(x, y).to_rgb().0);
            }
        }
    }
    scratch
}

/// Pixels of `N` samples (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha), as many as `out` takes.
fn convert<T: Sample, const N: usize, const C: usize>(samples: &[T], out: &mut [u8]) {
    for (pixel, out) in samples.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<C>().0) {
        let step = usize::from(N > 2);
        *out = colour([pixel[0].byte(), pixel[step].byte(), pixel[2 * step].byte()]);
    }
}

/// RGB as it is, or its luma with the weights of ITU-R 601-2 in the fixed point that Pillow uses.
fn colour<const C: usize>([r, g, b]: [u8; 3]) -> [u8; C] {
    if C == 1 {
        let luma = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
        [((luma + 0x8000) >> 16) as u8; C]
    } else {
        std::array::from_fn(|channel| [r, g, b][channel.min(2)])
    }
}
