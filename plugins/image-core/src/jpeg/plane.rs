//! Collects the samples of a component in a strip, block by block.

use std::rc::Rc;

use super::fault::Fault;
use super::headers::{Component, Headers};
use super::sink::{Way, is_draft, needs_only_luma, way};
use super::{idct, idct_small};
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::Output;
use crate::resample::{Resampler, Side, Upsampling, resampler_bytes, result_bytes};
use crate::windows::Windows;

/// The samples of a component before resizing.
pub(super) struct Plane<L> {
    /// The blocks of an MCU, horizontally and vertically.
    pub(super) across: usize,
    pub(super) down: usize,
    quantiser: [i16; 64],
    /// Samples per side of a block, see [`block_sizes`].
    pub(super) block_size: usize,
    pub(super) strip: Vec<u8>,
    pub(super) stride: usize,
    /// `None` if the component is not needed, or its pixels are converted to colours before they are resized.
    pub(super) resampler: Option<Resampler<L>>,
}

/// Estimates the bytes that the planes and their rows of the result allocate.
pub(super) fn planes_bytes(headers: &Headers, output: &Output) -> u64 {
    let sizes = headers.components.iter().map(|component| {
        let (width, height) = headers.samples(component);
        let strip = 8 * component.down as u64;
        // If the height grows, a strip is resized in parts.
        let fed = if (headers.height as u64) < output.y.full { component.down as u64 } else { strip };
        let rows = result_bytes(fed, width as u64, height as u64, output.x, output.y);
        strip * width as u64 + resampler_bytes(1, width as u64, height as u64, output.y) + rows
    });
    sizes.sum()
}

/// The samples per side of a block for each component: 8; or 1 or 2 in a draft; or 0 if the component is not needed for
/// the tensor.
pub(super) fn block_sizes(headers: &Headers, settings: &Settings, output: &Output) -> impl Iterator<Item = usize> {
    let draft = is_draft(headers, settings, output);
    let only_luma = needs_only_luma(headers, settings, output);
    headers.components.iter().enumerate().map(move |(index, component)| {
        // In a draft, a component with one sample for four pixels has four samples per block, as in libjpeg.
        let subsampled = 2 * component.across <= headers.widest && 2 * component.down <= headers.tallest;
        match (only_luma && index > 0, draft) {
            (true, _) => 0,
            (_, false) => 8,
            (_, true) => 1 + usize::from(subsampled),
        }
    })
}

/// Creates a plane for each component.
pub(super) fn planes<L: Lanes>(headers: &Headers, settings: &Settings, output: &Output) -> Vec<Plane<L>> {
    let resizes = way(headers, settings, output) != Way::Pixels;
    let mut planes: Vec<Plane<L>> = Vec::with_capacity(4);
    for (component, size) in headers.components.iter().zip(block_sizes(headers, settings, output)) {
        let has_same_sides = |plane: &&Plane<L>| {
            (plane.across, plane.down, plane.block_size) == (component.across, component.down, size)
        };
        let windows = planes.iter().find(has_same_sides).and_then(|plane| Some(plane.resampler.as_ref()?.windows()));
        planes.push(Plane::new(headers, component, size, resizes.then_some(output), windows));
    }
    planes
}

/// Creates a plane for each component that is not resized.
pub(super) fn whole_planes<L: Lanes>(headers: &Headers) -> Vec<Plane<L>> {
    headers.components.iter().map(|component| Plane::new(headers, component, 8, None, None)).collect()
}

/// How libjpeg converts the samples of a component to pixels, horizontally and vertically.
pub(super) fn upsampling(headers: &Headers, component: &Component) -> [Upsampling; 2] {
    let ratios = (headers.widest / component.across, headers.tallest / component.down);
    let smooth = match ratios {
        (2, 1 | 2) => headers.samples(component).0 > 2,
        (1, 2) => true,
        _ => false,
    };
    [ratios.0, ratios.1].map(|ratio| match ratio {
        1 => Upsampling::None,
        _ if smooth => Upsampling::Triangle,
        ratio => Upsampling::Repeat(ratio),
    })
}

/// The samples from one row of a strip to the next.
pub(super) fn strip_stride(headers: &Headers, component: &Component, block_size: usize) -> usize {
    (headers.mcus().0 * component.across * block_size).next_multiple_of(16)
}

impl<L: Lanes> Plane<L> {
    /// The samples are resized to the size of the output, if there is one. `windows` are those of another plane with the
    /// same sides.
    fn new(
        headers: &Headers,
        component: &Component,
        block_size: usize,
        output: Option<&Output>,
        windows: Option<[Rc<Windows>; 2]>,
    ) -> Self {
        let stride = strip_stride(headers, component, block_size);
        let [across, down] = upsampling(headers, component);
        let side = |pixels: usize, sampling: usize, most: usize, upsampling: Upsampling| {
            if block_size == 8 && upsampling != Upsampling::None {
                return Side { size: pixels as f64, length: (pixels * sampling).div_ceil(most), upsampling };
            }
            // In a draft, the samples are resized from their own resolution.
            let size = pixels as f64 * sampling as f64 / most as f64 * block_size as f64 / 8.0;
            Side { size, length: size.ceil() as usize, upsampling: Upsampling::None }
        };
        let width = side(headers.width, component.across, headers.widest, across);
        let height = side(headers.height, component.down, headers.tallest, down);
        let output = output.filter(|_| block_size > 0);
        Plane {
            across: component.across,
            down: component.down,
            quantiser: [0; 64],
            block_size,
            strip: vec![0; stride * component.down * block_size],
            stride,
            resampler: output.map(|output| match windows {
                Some(windows) => Resampler::with_windows(1, stride, height, output.y, windows),
                None => Resampler::new(1, stride, width, height, output.x, output.y),
            }),
        }
    }

    /// Copies the quantisation table of the component. Call before its first scan.
    pub(super) fn define_quantiser(&mut self, headers: &Headers, component: usize) -> Result<(), Fault> {
        self.quantiser = headers.quantisers[headers.components[component].quantiser].ok_or(Fault::MissingTable)?;
        Ok(())
    }

    /// The sample value of a block that only has a DC coefficient.
    #[inline(always)]
    pub(super) fn dc_sample(&self, coefficient: i16) -> u8 {
        idct::dc_sample(coefficient, self.quantiser[0])
    }

    /// Writes the samples of a block to the strip at offset `at`. `last` is the index of its last non-zero coefficient
    /// in zigzag order.
    #[inline(always)]
    pub(super) fn block<const SIZE: usize>(&mut self, rows: &[[i16; 8]; 8], last: usize, at: usize) {
        let dc_sample = |quantiser: &[i16; 64]| idct::dc_sample(rows[0][0], quantiser[0]);
        let (stride, quantiser) = (self.stride, &self.quantiser);
        if SIZE == 2 {
            let strip = &mut self.strip[at..];
            return match last {
                0 => idct::store([[dc_sample(quantiser); 2]; 2], strip, stride),
                1..10 => idct::store(idct::quarters::<true>(rows, quantiser), strip, stride),
                _ => idct::store(idct::quarters::<false>(rows, quantiser), strip, stride),
            };
        }
        // The stride is a multiple of sixteen, and blocks begin at multiples of eight.
        let (strip, stride) = (&mut self.strip.as_chunks_mut().0[at / 8..], stride / 8);
        match last {
            0 => idct_small::dc_block(rows[0][0], quantiser[0], strip, stride),
            1..3 => idct_small::small_block::<L>(rows, quantiser, strip, stride),
            3..10 => idct::block::<L, true>(rows, quantiser, strip, stride),
            _ => idct::block::<L, false>(rows, quantiser, strip, stride),
        }
    }
}
