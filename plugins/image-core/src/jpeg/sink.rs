//! Where the samples of all components go, one row of MCUs at a time. There are two ways to the output:
//! - By plane: luma and chroma are resized separately from their own resolutions and converted to colours afterwards,
//!   when there are few pixels. For gray results and drafts.
//! - By pixel, see [`Pixels`]: they are converted to colours first, and the colours are resized.

use super::colours::Colours;
use super::headers::Headers;
use super::pixels::{Pixels, pixels_bytes};
use super::plane::{Plane, planes_bytes};
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::{Channels, Colour, Output};

/// Bytes of the tables and the window of the coded data.
const DECODER_BYTES: u64 = 256 << 10;

/// Receives the strips of all components.
pub(super) enum Sink<'o, 'a, L> {
    Planes {
        output: &'o mut Output<'a>,
        colour: Colour,
        /// The number of parts in which a strip is resized.
        parts: usize,
    },
    Pixels(Box<Pixels<'o, 'a, L>>),
}

/// The number of pixels of an image that is never a draft, because it takes little time in any case.
const SMALL: u64 = 1 << 16;

/// True if the image is converted to colours before it is resized. The result is then that of a full decode and a resize.
/// If luma and chroma are resized first, it differs at edges of saturated colours, because colours outside of RGB are
/// clamped later: by up to 56 of 255 in coloured text. So only drafts are resized first: they are never exact.
/// CMYK images are always converted first, because their conversion is not linear.
pub(super) fn converts_first(headers: &Headers, settings: &Settings, output: &Output) -> bool {
    let is_small = headers.width as u64 * headers.height as u64 <= SMALL;
    match headers.colours {
        Colours::Gray | Colours::Rgb => false,
        Colours::YCbCr => (is_small || !may_be_draft(headers, settings, output)) && !needs_only_luma(headers, settings),
        Colours::Cmyk | Colours::Ycck => true,
    }
}

/// True if drafts are configured, and one eighth of the image is still at least as large as its resized size.
fn may_be_draft(headers: &Headers, settings: &Settings, output: &Output) -> bool {
    let shrinks_by_8 = |side: usize, full: u64| side as u64 >= 8 * full;
    settings.draft && shrinks_by_8(headers.width, output.x.full) && shrinks_by_8(headers.height, output.y.full)
}

/// True if only a part of the image's frequencies is decoded.
pub(super) fn is_draft(headers: &Headers, settings: &Settings, output: &Output) -> bool {
    may_be_draft(headers, settings, output) && !converts_first(headers, settings, output)
}

/// True if the tensor needs only luma.
pub(super) fn needs_only_luma(headers: &Headers, settings: &Settings) -> bool {
    settings.pack.order == Channels::Gray && headers.colours == Colours::YCbCr
}

/// Estimates the bytes that the sink and the planes allocate.
pub(super) fn estimated_bytes(headers: &Headers, settings: &Settings, output: &Output) -> u64 {
    let sink = if converts_first(headers, settings, output) {
        pixels_bytes(headers, output)
    } else {
        planes_bytes(headers, output)
    };
    sink + DECODER_BYTES
}

impl<'o, 'a, L: Lanes> Sink<'o, 'a, L> {
    pub(super) fn new(headers: &Headers, settings: &Settings, output: &'o mut Output<'a>) -> Self {
        if converts_first(headers, settings, output) {
            return Sink::Pixels(Box::new(Pixels::new(headers, output)));
        }
        let colour = match headers.colours {
            Colours::Rgb => Colour::Rgb,
            Colours::YCbCr if !needs_only_luma(headers, settings) => Colour::YCbCr,
            _ => Colour::Gray,
        };
        // If the height grows, a row of samples gives several rows of the result, which take memory until all components
        // have them.
        let parts = if (headers.height as u64) < output.y.full { 8 } else { 1 };
        Sink::Planes { output, colour, parts }
    }

    /// Processes the strips of all components, which have the samples of one row of MCUs.
    pub(super) fn take_strips<'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        match self {
            Sink::Planes { output, colour, parts } => resize_strips(planes, *parts, *colour, output),
            Sink::Pixels(pixels) => pixels.take_strips(planes),
        }
    }

    /// Processes the rows that remain. Call after the last strip.
    pub(super) fn finish(self) {
        if let Sink::Pixels(pixels) = self {
            pixels.finish();
        }
    }
}

/// Resizes the strips, and passes the rows that are finished in all components to the output.
fn resize_strips<'p, L: Lanes + 'p>(
    planes: impl Iterator<Item = &'p mut Plane<L>>,
    parts: usize,
    colour: Colour,
    output: &mut Output,
) {
    let mut places = [const { None }; 3];
    for (plane, place) in planes.filter(|plane| plane.resampler.is_some()).zip(&mut places) {
        *place = Some(plane);
    }
    for part in 0..parts {
        let mut ready = usize::MAX;
        for plane in places.iter_mut().flatten() {
            let rows = plane.down * plane.block_size / parts;
            let strip = &plane.strip[part * rows * plane.stride..];
            if let Some(resampler) = &mut plane.resampler {
                resampler.feed(strip, plane.stride, rows);
                ready = ready.min(resampler.ready());
            }
        }
        let resamplers = places.each_ref().map(|plane| plane.as_ref().and_then(|plane| plane.resampler.as_ref()));
        for row in 0..ready {
            let channel = |plane: usize| resamplers[plane].map_or(&[][..], |resampler| resampler.row(row, 0));
            output.put(colour, [channel(0), channel(1), channel(2)]);
        }
        for resampler in places.iter_mut().flatten().filter_map(|plane| plane.resampler.as_mut()) {
            resampler.discard_rows(ready);
        }
    }
}
