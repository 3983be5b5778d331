//! Converts an encoded image to the elements of a tensor. If the format allows it, memory use does not grow with the
//! number of pixels. The crate builds for wasm and natively, so that it can be tested, fuzzed and compared outside a
//! plugin.
//!
//! In reading order:
//! - [`Settings`], [`prepare`]: the settings and the entry point.
//! - `format`, `limits`: detects the format from the first bytes; limits on pixels and memory.
//! - `geometry`: maps the image to the model's input.
//! - `jpeg`, `png`, `webp`, `gif`, `bmp`, `tiff`: one module for each decoder.
//! - `rows`, `resample`, `windows`, `kernels`: resize rows as they are decoded.
//! - `output`: converts resized rows to elements.
//! - [`Picture`]: the decoded image, and what is made from it. [`warp`]: quadrilaterals of it.
//! - `lanes`: the vector instructions used by the kernels and the JPEG decoder.

mod bmp;
mod exif;
mod format;
mod geometry;
mod gif;
mod jpeg;
mod kernels;
mod lanes;
mod limits;
mod output;
mod picture;
mod png;
mod resample;
mod rows;
mod tiff;
pub mod warp;
mod webp;
mod windows;

use std::borrow::Cow;

use image::metadata::Orientation;

use exif::orientation;
use format::Format;
pub use geometry::{Context, Mode, Target};
use lanes::{Best, Lanes, Scalar};
pub use limits::{Limits, Rejected};
pub use output::{Channels, Dtype, Elements, Layout, Pack};
use output::{Output, is_turned};
pub use picture::{Picture, prepare_rows};

/// The settings that apply to every image.
#[derive(Clone)]
pub struct Settings {
    /// How the image is fitted into the input.
    pub target: Target,
    /// How values are converted to elements.
    pub pack: Pack,
    /// The maximum pixels and memory of an image.
    pub limits: Limits,
    /// True if a JPEG that is at least eight times as large as its resized size is decoded at 1/8.
    pub draft: bool,
}

impl Settings {
    /// Creates the output for an image of this size as stored in the file, that is, before the orientation is applied.
    fn output(&self, size: (u32, u32), orientation: Orientation) -> Output<'_> {
        if self.target.mode != Mode::Whole {
            return Output::new(&self.target, Cow::Borrowed(&self.pack), size, orientation);
        }
        let (width, height) = if is_turned(orientation) { (size.1, size.0) } else { size };
        let target = Target { width, height, ..self.target };
        Output::new(&target, Cow::Owned(Pack { width, height, ..self.pack.clone() }), size, orientation)
    }
}

/// Converts an encoded image (the first frame of an animation) to the elements of the tensor and the context for
/// postprocessing.
///
/// # Errors
/// See [`Rejected`].
pub fn prepare(body: &[u8], settings: &Settings) -> Result<(Elements, Context), Rejected> {
    prepare_on::<Best>(body, settings)
}

/// Like [`prepare`], but without vector instructions: slower, with a bit-identical result. Tests compare the two.
///
/// # Errors
/// See [`Rejected`].
pub fn prepare_scalar(body: &[u8], settings: &Settings) -> Result<(Elements, Context), Rejected> {
    prepare_on::<Scalar>(body, settings)
}

fn prepare_on<L: Lanes>(body: &[u8], settings: &Settings) -> Result<(Elements, Context), Rejected> {
    let output = match format::sniff(body)? {
        Format::Jpeg => jpeg::prepare::<L>(body, settings)?,
        Format::Png => png::prepare::<L>(body, settings)?,
        Format::WebP => webp::prepare::<L>(body, settings)?,
        Format::Tiff => tiff::prepare::<L>(body, settings)?,
        Format::Gif => gif::prepare::<L>(body, settings)?,
        Format::Bmp => bmp::prepare::<L>(body, settings)?,
    };
    Ok(output.finish())
}
