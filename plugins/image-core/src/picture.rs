//! The decoded image in memory, for steps that need more of it than one tensor.

use std::convert::Infallible;

use image::metadata::Orientation;

use crate::geometry::{Context, Mode, Target};
use crate::lanes::Best;
use crate::limits::{Limits, Rejected};
use crate::output::{Channels, Colour, Dtype, Elements, Layout, Pack};
use crate::rows::Rows;
use crate::{Settings, prepare};

/// A decoded image (the first frame of an animation), with its orientation applied.
pub struct Picture {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Decodes an image.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn decode(body: &[u8], limits: Limits) -> Result<Picture, Rejected> {
        let settings = Settings { limits, ..Picture::settings((0, 0), Mode::Whole) };
        let (elements, Context { width, height, .. }) = prepare(body, &settings)?;
        Ok(Picture { width, height, rgb: bytes(elements) })
    }

    /// Makes a tensor of it, as [`prepare`] does of the encoded image. The pixels are rounded to bytes before they are
    /// resized, so elements may differ by one step of the image.
    pub fn prepare(&self, settings: &Settings) -> (Elements, Context) {
        let mut rows = self.rgb.chunks_exact(3 * self.width as usize);
        let next = |row: &mut [u8]| -> Result<(), Infallible> {
            rows.next().into_iter().for_each(|source| row.copy_from_slice(source));
            Ok(())
        };
        match prepare_rows((self.width, self.height), settings, next) {
            Ok(prepared) => prepared,
            Err(never) => match never {},
        }
    }

    /// The picture with sides of at most this many pixels; its aspect ratio is kept as far as whole pixels allow.
    pub fn reduced(self, max_side: u32) -> Picture {
        let longest = self.width.max(self.height);
        if longest <= max_side {
            return self;
        }
        let side = |side: u32| ((f64::from(side) * f64::from(max_side) / f64::from(longest)).round() as u32).max(1);
        let (width, height) = (side(self.width), side(self.height));
        let (elements, _) = self.prepare(&Picture::settings((width, height), Mode::Stretch));
        Picture { width, height, rgb: bytes(elements) }
    }

    fn settings((width, height): (u32, u32), mode: Mode) -> Settings {
        Settings {
            target: Target { width, height, mode, shorter: None },
            pack: Pack {
                width,
                height,
                order: Channels::Rgb,
                layout: Layout::Nhwc,
                invert: false,
                pad: 0,
                mean: [0.0; 3],
                scale: [1.0; 3],
                dtype: Dtype::U8,
            },
            limits: Limits { max_pixels: u64::MAX, max_bytes: u64::MAX },
            draft: false,
        }
    }
}

fn bytes(elements: Elements) -> Vec<u8> {
    match elements {
        Elements::U8(bytes) => bytes,
        // Not reached: `Picture::settings` asks for bytes.
        Elements::F32(_) | Elements::F16(_) | Elements::Bf16(_) => Vec::new(),
    }
}

/// Makes a tensor of an image of this width and height whose rows of RGB are made one after the other: `next` fills them. Memory
/// use does not grow with the number of rows. The limits of the settings are not checked.
///
/// # Errors
/// The first one of `next`.
pub fn prepare_rows<E>(
    (width, height): (u32, u32),
    settings: &Settings,
    mut next: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(Elements, Context), E> {
    let mut output = settings.output((width, height), Orientation::NoTransforms);
    let mut rows = Rows::<Best>::new(&mut output, width, height, Colour::Rgb);
    for _ in 0..height {
        rows.push(&mut next)?;
    }
    rows.finish();
    Ok(output.finish())
}
