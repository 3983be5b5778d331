//! Where the samples of all components go, one row of MCUs at a time. There are three ways to the output:
//! - By plane: luma and chroma are resized separately from their own resolutions and converted to colours afterwards,
//!   when there are few pixels. For gray images, images that store red, green and blue, and drafts.
//! - By plane with [`Clamping`]: the same, but the difference that clamping the colours of the pixels makes is resized as
//!   well and added. For images that are reduced.
//! - By pixel, see [`Pixels`]: they are converted to colours first, and the colours are resized.

use super::clamping::{self, Clamping, clamping_bytes};
use super::colours::Colours;
use super::headers::Headers;
use super::pixels::{Pixels, pixels_bytes};
use super::plane::{Plane, planes_bytes};
use super::samples::Samples;
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::{Channels, Colour, Output};

/// Bytes of the tables and the window of the coded data.
pub(super) const DECODER_BYTES: u64 = 256 << 10;

/// Receives the strips of all components.
pub(super) enum Sink<'o, 'a, L> {
    Planes(Planes<'o, 'a, L>),
    Pixels(Box<Pixels<'o, 'a, L>>),
    /// The samples as they are.
    Samples(Samples<'o>),
}

/// Resizes components separately.
pub(super) struct Planes<'o, 'a, L> {
    output: &'o mut Output<'a>,
    colour: Colour,
    /// The number of parts in which a strip is resized.
    parts: usize,
    clamping: Option<Box<Clamping<L>>>,
}

/// The ways to the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Planes,
    PlanesWithClamping,
    Pixels,
}

/// The number of pixels of an image that is never a draft, because it takes little time in any case.
const SMALL: u64 = 1 << 16;

/// An image is resized by plane if it is at least this many times as large as its resized size in both directions. If it is
/// smaller, conversion takes less time.
const REDUCTION: u64 = 4;

/// How the image gets to the output. Only drafts are resized by plane without the difference that clamping makes, because
/// they are never exact: at edges of saturated colours the result differs by up to 56 of 255 in coloured text. CMYK images
/// are always converted first, because their conversion is not linear.
pub(super) fn way(headers: &Headers, settings: &Settings, output: &Output) -> Way {
    let is_small = headers.width as u64 * headers.height as u64 <= SMALL;
    let may_be_draft = may_be_draft(headers, settings, output) && !is_small;
    match headers.colours {
        Colours::Gray | Colours::Rgb => Way::Planes,
        Colours::YCbCr if may_be_draft => Way::Planes,
        Colours::YCbCr if is_reduced(headers, output, REDUCTION) && clamping::is_supported(headers) => {
            Way::PlanesWithClamping
        }
        Colours::YCbCr | Colours::Cmyk | Colours::Ycck => Way::Pixels,
    }
}

/// True if the image is at least `times` as large as its resized size in both directions.
fn is_reduced(headers: &Headers, output: &Output, times: u64) -> bool {
    headers.width as u64 >= times * output.x.full && headers.height as u64 >= times * output.y.full
}

/// True if drafts are configured, and one eighth of the image is still at least as large as its resized size.
fn may_be_draft(headers: &Headers, settings: &Settings, output: &Output) -> bool {
    settings.draft && is_reduced(headers, output, 8)
}

/// True if only a part of the image's frequencies is decoded.
pub(super) fn is_draft(headers: &Headers, settings: &Settings, output: &Output) -> bool {
    may_be_draft(headers, settings, output) && way(headers, settings, output) == Way::Planes
}

/// True if only luma is decoded: for gray results of drafts. Otherwise gray is computed from red, green and blue as for
/// every other format. It differs from luma where a colour of luma and chroma is outside of RGB, by up to 37 of 255.
pub(super) fn needs_only_luma(headers: &Headers, settings: &Settings, output: &Output) -> bool {
    settings.pack.order == Channels::Gray
        && headers.colours == Colours::YCbCr
        && way(headers, settings, output) == Way::Planes
}

/// Estimates the bytes that the sink and the planes allocate.
pub(super) fn estimated_bytes(headers: &Headers, settings: &Settings, output: &Output) -> u64 {
    let sink = match way(headers, settings, output) {
        Way::Planes => planes_bytes(headers, output),
        Way::PlanesWithClamping => {
            (planes_bytes(headers, output) + clamping_bytes(headers, output)).max(pixels_bytes(headers, output))
        }
        Way::Pixels => pixels_bytes(headers, output),
    };
    sink + DECODER_BYTES
}

impl<'o, 'a, L: Lanes> Sink<'o, 'a, L> {
    /// `planes` are those of all components.
    pub(super) fn new(headers: &Headers, settings: &Settings, output: &'o mut Output<'a>, planes: &[Plane<L>]) -> Self {
        let way = way(headers, settings, output);
        if way == Way::Pixels {
            return Sink::Pixels(Box::new(Pixels::new(headers, output)));
        }
        let colour = match headers.colours {
            Colours::Rgb => Colour::Rgb,
            Colours::YCbCr if !needs_only_luma(headers, settings, output) => Colour::YCbCr,
            _ => Colour::Gray,
        };
        // If the height grows, a row of samples gives several rows of the result, which take memory until all components
        // have them.
        let parts = if (headers.height as u64) < output.y.full { 8 } else { 1 };
        let clamping = (way == Way::PlanesWithClamping).then(|| Box::new(Clamping::new(headers, output, &planes[0])));
        Sink::Planes(Planes { output, colour, parts, clamping })
    }

    /// Processes the strips of all components, which have the samples of one row of MCUs.
    pub(super) fn take_strips<'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        match self {
            Sink::Planes(sink) => sink.take_strips(planes),
            Sink::Pixels(pixels) => pixels.take_strips(planes),
            Sink::Samples(samples) => samples.take_strips(planes),
        }
    }

    /// True if most colours are outside of RGB so far, as in coloured text. Then the image takes less time by pixel.
    pub(super) fn is_unsuitable(&self) -> bool {
        match self {
            Sink::Planes(sink) => sink.clamping.as_ref().is_some_and(|clamping| clamping.is_dense()),
            Sink::Pixels(_) | Sink::Samples(_) => false,
        }
    }

    /// The sink for the same image by pixel. All strips must be taken again.
    pub(super) fn by_pixel<'p>(self, headers: &Headers, planes: impl Iterator<Item = &'p mut Plane<L>>) -> Self
    where
        L: 'p,
    {
        match self {
            Sink::Planes(Planes { output, .. }) => {
                planes.for_each(|plane| plane.resampler = None);
                output.restart();
                Sink::Pixels(Box::new(Pixels::new(headers, output)))
            }
            other => other,
        }
    }

    /// Processes the rows that remain. Call after the last strip.
    pub(super) fn finish<'p>(self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        match self {
            Sink::Planes(mut sink) => {
                if let Some(clamping) = &mut sink.clamping {
                    clamping.finish();
                    sink.put_rows(&mut by_place(planes));
                }
            }
            Sink::Pixels(pixels) => pixels.finish(),
            Sink::Samples(_) => {}
        }
    }
}

/// The planes that are resized.
fn by_place<'p, L: Lanes + 'p>(planes: impl Iterator<Item = &'p mut Plane<L>>) -> [Option<&'p mut Plane<L>>; 3] {
    let mut places = [const { None }; 3];
    for (plane, place) in planes.filter(|plane| plane.resampler.is_some()).zip(&mut places) {
        *place = Some(plane);
    }
    places
}

impl<L: Lanes> Planes<'_, '_, L> {
    /// Resizes the strips, and passes the rows that are finished in all components to the output.
    fn take_strips<'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        let mut places = by_place(planes);
        for part in 0..self.parts {
            for plane in places.iter_mut().flatten() {
                let rows = plane.down * plane.block_size / self.parts;
                let strip = &plane.strip[part * rows * plane.stride..];
                if let Some(resampler) = &mut plane.resampler {
                    resampler.feed(strip, plane.stride, rows);
                }
            }
            // With clamping there is one part.
            if let Some(clamping) = &mut self.clamping {
                clamping.take_strips(places.iter_mut().flatten().map(|plane| &mut **plane));
            }
            self.put_rows(&mut places);
        }
    }

    /// Passes the rows that are finished in all components to the output.
    fn put_rows(&mut self, places: &mut [Option<&mut Plane<L>>; 3]) {
        let resamplers = places.each_ref().map(|plane| plane.as_ref().and_then(|plane| plane.resampler.as_ref()));
        let ready = resamplers.iter().flatten().map(|resampler| resampler.ready()).min().unwrap_or(0);
        let clamping = self.clamping.as_mut().map(|clamping| clamping.resampler());
        let ready = clamping.as_ref().map_or(ready, |clamping| ready.min(clamping.ready()));
        for row in 0..ready {
            let channel = |plane: usize| resamplers[plane].map_or(&[][..], |resampler| resampler.row(row, 0));
            let channels = [channel(0), channel(1), channel(2)];
            match &clamping {
                Some(clamping) => self.output.put_with_clamping(channels, clamping.row(row)),
                None => self.output.put(self.colour, channels),
            }
        }
        for resampler in places.iter_mut().flatten().filter_map(|plane| plane.resampler.as_mut()) {
            resampler.discard_rows(ready);
        }
        if let Some(clamping) = clamping {
            clamping.discard_rows(ready);
        }
    }
}
