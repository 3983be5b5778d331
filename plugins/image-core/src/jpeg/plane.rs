//! A component on its way: a strip of its samples, filled block by block, and strip by strip into its resampler. Luma and
//! the colour differences are resized each from its own resolution, and become colours when they are few.

use super::headers::{Component, Headers};
use super::idct;
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::{Channels, Colour, Output};
use crate::resample::{Resampler, Side, resampler_bytes};

/// Tables, the window over the data, and the rows that wait for those of other components.
const DECODER_BYTES: u64 = 256 << 10;

/// A component's samples on their way.
pub(super) struct Plane<L> {
    /// Blocks of an MCU.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) quantiser: [i16; 64],
    /// See [`sizes`].
    pub(super) size: usize,
    pub(super) strip: Vec<u8>,
    pub(super) stride: usize,
    /// `None` where `size` is 0.
    resampler: Option<Resampler<L>>,
}

/// About how many bytes the planes take.
pub(super) fn bytes(headers: &Headers, output: &Output) -> u64 {
    let sum: u64 = headers
        .components
        .iter()
        .map(|component| {
            let width = (headers.width * component.across / headers.widest) as u64;
            let height = (headers.height * component.down / headers.tallest) as u64;
            8 * component.down as u64 * width + resampler_bytes(1, width, height, output.y)
        })
        .sum();
    sum + DECODER_BYTES
}

/// Samples of a block's side that each component gives: 8, or in a draft 1 or 2, or 0 where it does not reach the tensor.
pub(super) fn sizes(headers: &Headers, settings: &Settings, output: &Output) -> impl Iterator<Item = usize> {
    let far = |side: usize, full: u64| side as u64 >= 8 * full;
    let draft = settings.draft && far(headers.width, output.x.full) && far(headers.height, output.y.full);
    let gray = is_gray(headers, settings);
    headers.components.iter().enumerate().map(move |(index, component)| {
        // In a draft, a component that has a sample for four pixels gives four for a block, as in libjpeg.
        let coarse = 2 * component.across <= headers.widest && 2 * component.down <= headers.tallest;
        match (gray && index > 0, draft) {
            (true, _) => 0,
            (_, false) => 8,
            (_, true) => 1 + usize::from(coarse),
        }
    })
}

/// Whether luma alone is wanted.
fn is_gray(headers: &Headers, settings: &Settings) -> bool {
    settings.pack.order == Channels::Gray && !headers.rgb
}

/// A plane for each component, and what their rows are; `None` where a component has no quantiser.
pub(super) fn planes<L: Lanes>(
    headers: &Headers,
    settings: &Settings,
    output: &Output,
) -> Option<(Vec<Plane<L>>, Colour)> {
    let components = headers.components.iter().zip(sizes(headers, settings, output));
    let planes = components.map(|(component, size)| Plane::new(headers, component, size, output));
    let colour = match (headers.components.len(), headers.rgb) {
        (1, _) => Colour::Gray,
        (_, true) => Colour::Rgb,
        (_, false) if is_gray(headers, settings) => Colour::Gray,
        _ => Colour::YCbCr,
    };
    Some((planes.collect::<Option<_>>()?, colour))
}

/// Resizes the strips, and hands on the rows that all components have.
pub(super) fn put<'p, L: Lanes + 'p>(
    planes: impl Iterator<Item = &'p mut Plane<L>>,
    colour: Colour,
    output: &mut Output,
) {
    let mut ready = usize::MAX;
    let mut resamplers = [const { None }; 3];
    for (plane, place) in planes.zip(&mut resamplers) {
        if let Some(resampler) = &mut plane.resampler {
            resampler.feed(&plane.strip, plane.stride, plane.down * plane.size);
            ready = ready.min(resampler.ready());
            *place = Some(resampler);
        }
    }
    for row in 0..ready {
        let channel = |plane: usize| resamplers[plane].as_ref().map_or(&[][..], |resampler| resampler.row(row, 0));
        output.put(colour, [channel(0), channel(1), channel(2)]);
    }
    for resampler in resamplers.into_iter().flatten() {
        resampler.take(ready);
    }
}

impl<L: Lanes> Plane<L> {
    fn new(headers: &Headers, component: &Component, size: usize, output: &Output) -> Option<Self> {
        let blocks = headers.width.div_ceil(8 * headers.widest) * component.across;
        let stride = (blocks * size).next_multiple_of(16);
        let side = |pixels: usize, sampling: usize, most: usize| {
            let size = pixels as f64 * sampling as f64 / most as f64 * size as f64 / 8.0;
            Side { size, length: size.ceil() as usize }
        };
        let width = side(headers.width, component.across, headers.widest);
        let height = side(headers.height, component.down, headers.tallest);
        Some(Plane {
            across: component.across,
            down: component.down,
            quantiser: headers.quantisers[component.quantiser]?,
            size,
            strip: vec![0; stride * component.down * size],
            stride,
            resampler: (size > 0).then(|| Resampler::new(1, stride, width, height, output.x, output.y)),
        })
    }

    /// The one sample of a block that has no more than its mean.
    #[inline(always)]
    pub(super) fn mean(&self, coefficient: i16) -> u8 {
        idct::mean(coefficient, self.quantiser[0])
    }

    /// Puts the samples of a block at a place of the strip. `last` is the place of its last coefficient in zigzag order.
    #[inline(always)]
    pub(super) fn block<const SIZE: usize>(&mut self, columns: &[[i16; 8]; 8], last: usize, at: usize) {
        let mean = self.mean(columns[0][0]);
        let (strip, stride, quantiser) = (&mut self.strip[at..], self.stride, &self.quantiser);
        match (SIZE, last) {
            (2, 0) => copy([[mean; 2]; 2], strip, stride),
            (2, ..10) => copy(idct::quarters::<true>(columns, quantiser), strip, stride),
            (2, _) => copy(idct::quarters::<false>(columns, quantiser), strip, stride),
            (_, 0) => copy([[mean; 8]; 8], strip, stride),
            (_, ..10) => copy(low_block::<L>(columns, quantiser), strip, stride),
            (_, _) => copy(full_block::<L>(columns, quantiser), strip, stride),
        }
    }
}

#[inline(never)]
fn full_block<L: Lanes>(columns: &[[i16; 8]; 8], quantiser: &[i16; 64]) -> [[u8; 8]; 8] {
    idct::block::<L, false>(columns, quantiser)
}

#[inline(never)]
fn low_block<L: Lanes>(columns: &[[i16; 8]; 8], quantiser: &[i16; 64]) -> [[u8; 8]; 8] {
    idct::block::<L, true>(columns, quantiser)
}

#[inline(always)]
fn copy<const SIZE: usize>(block: [[u8; SIZE]; SIZE], strip: &mut [u8], stride: usize) {
    for (row, samples) in block.iter().enumerate() {
        strip[row * stride..][..SIZE].copy_from_slice(samples);
    }
}
