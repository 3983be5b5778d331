//! An encoded image into the elements of a tensor, in memory that does not grow with the pixels where the format allows
//! it. It builds for wasm and natively, so that it can be tested, fuzzed and compared outside a plugin.
//!
//! In reading order:
//! - [`Settings`], [`prepare`]: what is wanted, and the way of a body.
//! - `format`, `limits`: the format by the first bytes, and what an image may cost.
//! - `geometry`: which part of the image lies where in the input.
//! - `jpeg`, `png`, `webp`, `other`: one module for each way to decode.
//! - `rows`, `resample`, `windows`, `kernels`: rows on their way to their size, as they come.
//! - `output`: resized rows into elements.
//! - `lanes`: the vector instructions that the kernels and the JPEG decoder are written with.

mod format;
mod geometry;
mod jpeg;
mod kernels;
mod lanes;
mod limits;
mod other;
mod output;
mod png;
mod resample;
mod rows;
mod webp;
mod windows;

use image::metadata::Orientation;

use format::Format;
pub use geometry::{Context, Mode, Target};
use lanes::{Best, Lanes, Scalar};
pub use limits::{Limits, Rejected};
use output::Output;
pub use output::{Channels, Elements, Layout, Pack};

/// What is wanted of every image.
#[derive(Clone)]
pub struct Settings {
    /// How the image is fitted into the input.
    pub target: Target,
    /// How values become elements.
    pub pack: Pack,
    /// What an image may cost.
    pub limits: Limits,
    /// Whether a JPEG that is eight times larger than its size in the input is decoded at 1/8.
    pub draft: bool,
}

impl Settings {
    /// An output for an image of this size as it lies in the file.
    fn output(&self, size: (u32, u32), orientation: Orientation) -> Output<'_> {
        Output::new(&self.target, &self.pack, size, orientation)
    }
}

/// The orientation that an EXIF block asks for. A block that is missing or broken asks for none.
fn orientation(exif: Option<&[u8]>) -> Orientation {
    // Some files have the prefix that the block has in a JPEG.
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// Makes the elements of the tensor of an encoded image (of an animation, its first frame), and the context for
/// postprocessing.
///
/// # Errors
/// See [`Rejected`].
pub fn prepare(body: &[u8], settings: &Settings) -> Result<(Elements, Context), Rejected> {
    prepare_on::<Best>(body, settings)
}

/// The same without vector instructions: slower, and with the same result to the last bit. Tests compare the two.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_scalar(body: &[u8], settings: &Settings) -> Result<(Elements, Context), Rejected> {
    prepare_on::<Scalar>(body, settings)
}

fn prepare_on<L: Lanes>(body: &[u8], settings: &Settings) -> Result<(Elements, Context), Rejected> {
    let output = match format::sniff(body)? {
        Format::Jpeg => jpeg::prepare::<L>(body, settings)?,
        Format::Png => png::prepare::<L>(body, settings)?,
        Format::WebP => webp::prepare::<L>(body, settings)?,
        Format::Other(format) => other::prepare::<L>(body, format, settings)?,
    };
    Ok(output.finish())
}
