//! Collects the samples of a component in a strip, block by block, and resizes strip by strip. Luma and chroma are
//! resized separately from their own resolutions and converted to colours afterwards, when there are few pixels.

use super::headers::{Component, Headers};
use super::idct;
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::{Channels, Colour, Output};
use crate::resample::{Resampler, Side, resampler_bytes};

/// Bytes of the tables, the window of the coded data, and the rows that wait for the rows of other components.
const DECODER_BYTES: u64 = 256 << 10;

/// The samples of a component before resizing.
pub(super) struct Plane<L> {
    /// The blocks of an MCU, horizontally and vertically.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) quantiser: [i16; 64],
    /// Samples per side of a block, see [`block_sizes`].
    pub(super) block_size: usize,
    pub(super) strip: Vec<u8>,
    pub(super) stride: usize,
    /// `None` if `block_size` is 0.
    resampler: Option<Resampler<L>>,
}

/// Estimates the bytes that the planes allocate.
pub(super) fn estimated_bytes(headers: &Headers, output: &Output) -> u64 {
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

/// The samples per side of a block for each component: 8; or 1 or 2 in a draft; or 0 if the component is not needed for
/// the tensor.
pub(super) fn block_sizes(headers: &Headers, settings: &Settings, output: &Output) -> impl Iterator<Item = usize> {
    let shrinks_by_8 = |side: usize, full: u64| side as u64 >= 8 * full;
    let draft =
        settings.draft && shrinks_by_8(headers.width, output.x.full) && shrinks_by_8(headers.height, output.y.full);
    let gray = is_gray(headers, settings);
    headers.components.iter().enumerate().map(move |(index, component)| {
        // In a draft, a component with one sample for four pixels has four samples per block, as in libjpeg.
        let subsampled = 2 * component.across <= headers.widest && 2 * component.down <= headers.tallest;
        match (gray && index > 0, draft) {
            (true, _) => 0,
            (_, false) => 8,
            (_, true) => 1 + usize::from(subsampled),
        }
    })
}

/// True if only luma is needed.
fn is_gray(headers: &Headers, settings: &Settings) -> bool {
    settings.pack.order == Channels::Gray && !headers.rgb
}

/// Creates a plane for each component, and returns the colours of their rows. `None` if a component has no quantiser.
pub(super) fn planes<L: Lanes>(
    headers: &Headers,
    settings: &Settings,
    output: &Output,
) -> Option<(Vec<Plane<L>>, Colour)> {
    let components = headers.components.iter().zip(block_sizes(headers, settings, output));
    let planes = components.map(|(component, block_size)| Plane::new(headers, component, block_size, output));
    let colour = match (headers.components.len(), headers.rgb) {
        (1, _) => Colour::Gray,
        (_, true) => Colour::Rgb,
        (_, false) if is_gray(headers, settings) => Colour::Gray,
        _ => Colour::YCbCr,
    };
    Some((planes.collect::<Option<_>>()?, colour))
}

/// Resizes the strips, and passes the rows that are finished in all components to the output.
pub(super) fn flush_strips<'p, L: Lanes + 'p>(
    planes: impl Iterator<Item = &'p mut Plane<L>>,
    colour: Colour,
    output: &mut Output,
) {
    let mut ready = usize::MAX;
    let mut resamplers = [const { None }; 3];
    for (plane, place) in planes.zip(&mut resamplers) {
        if let Some(resampler) = &mut plane.resampler {
            resampler.feed(&plane.strip, plane.stride, plane.down * plane.block_size);
            ready = ready.min(resampler.ready());
            *place = Some(resampler);
        }
    }
    for row in 0..ready {
        let channel = |plane: usize| resamplers[plane].as_ref().map_or(&[][..], |resampler| resampler.row(row, 0));
        output.put(colour, [channel(0), channel(1), channel(2)]);
    }
    for resampler in resamplers.into_iter().flatten() {
        resampler.discard_rows(ready);
    }
}

impl<L: Lanes> Plane<L> {
    fn new(headers: &Headers, component: &Component, block_size: usize, output: &Output) -> Option<Self> {
        let blocks = headers.width.div_ceil(8 * headers.widest) * component.across;
        let stride = (blocks * block_size).next_multiple_of(16);
        let side = |pixels: usize, sampling: usize, most: usize| {
            let size = pixels as f64 * sampling as f64 / most as f64 * block_size as f64 / 8.0;
            Side { size, length: size.ceil() as usize }
        };
        let width = side(headers.width, component.across, headers.widest);
        let height = side(headers.height, component.down, headers.tallest);
        Some(Plane {
            across: component.across,
            down: component.down,
            quantiser: headers.quantisers[component.quantiser]?,
            block_size,
            strip: vec![0; stride * component.down * block_size],
            stride,
            resampler: (block_size > 0).then(|| Resampler::new(1, stride, width, height, output.x, output.y)),
        })
    }

    /// The sample value of a block that only has a DC coefficient.
    #[inline(always)]
    pub(super) fn dc_sample(&self, coefficient: i16) -> u8 {
        idct::dc_sample(coefficient, self.quantiser[0])
    }

    /// Writes the samples of a block to the strip at offset `at`. `last` is the index of its last non-zero coefficient
    /// in zigzag order.
    #[inline(always)]
    pub(super) fn block<const SIZE: usize>(&mut self, columns: &[[i16; 8]; 8], last: usize, at: usize) {
        let dc_sample = self.dc_sample(columns[0][0]);
        let (strip, stride, quantiser) = (&mut self.strip[at..], self.stride, &self.quantiser);
        match (SIZE, last) {
            (2, 0) => copy([[dc_sample; 2]; 2], strip, stride),
            (2, ..10) => copy(idct::quarters::<true>(columns, quantiser), strip, stride),
            (2, _) => copy(idct::quarters::<false>(columns, quantiser), strip, stride),
            (_, 0) => copy([[dc_sample; 8]; 8], strip, stride),
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
