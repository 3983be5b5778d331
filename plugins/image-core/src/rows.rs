//! Converts rows of a decoded image to bytes, one or three per pixel, and feeds them to the resampler. One row at a
//! time is converted, so there is never a second copy of the image.

use crate::geometry::Axis;
use crate::lanes::Lanes;
use crate::output::{Colour, Output};
use crate::resample::{Resampler, Side, resampler_bytes};

/// A sample of a decoded image.
pub(crate) trait Sample: Copy {
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

/// Converts pixels of `N` samples (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha) to `C` bytes each, until `out` is
/// full.
pub(crate) fn convert<T: Sample, const N: usize, const C: usize>(samples: &[T], out: &mut [u8]) {
    for (pixel, out) in samples.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<C>().0) {
        let step = usize::from(N > 2);
        *out = std::array::from_fn(|channel| pixel[channel * step].byte());
    }
}

/// Like [`convert`], for samples of 16 bits in big-endian order, as stored in a file.
pub(crate) fn convert_big_endian<const N: usize, const C: usize>(samples: &[u8], out: &mut [u8]) {
    for (pixel, out) in samples.as_chunks::<2>().0.chunks_exact(N).zip(out.as_chunks_mut::<C>().0) {
        let step = usize::from(N > 2);
        *out = std::array::from_fn(|channel| u16::from_be_bytes(pixel[channel * step]).byte());
    }
}

/// Collects decoded rows, resizes them and writes them to the tensor.
pub(crate) struct Rows<'o, 'a, L> {
    output: &'o mut Output<'a>,
    resampler: Resampler<L>,
    colour: Colour,
    strip: Vec<u8>,
    row_bytes: usize,
    rows: usize,
}

/// How the bytes of a row are ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One pixel after the other.
    Pixels,
    /// One channel after the other.
    Channels,
}

/// The number of rows that the resampler adds up at once.
const STRIP: usize = 16;

impl<'o, 'a, L: Lanes> Rows<'o, 'a, L> {
    /// For an image of this size as stored in the file. `colour` is [`Colour::Gray`] or [`Colour::Rgb`].
    pub(crate) fn new(output: &'o mut Output<'a>, width: u32, height: u32, colour: Colour) -> Self {
        Self::with_order(output, width, height, colour, Order::Pixels)
    }

    /// Like [`Rows::new`], for bytes in this order.
    pub(crate) fn with_order(
        output: &'o mut Output<'a>,
        width: u32,
        height: u32,
        colour: Colour,
        order: Order,
    ) -> Self {
        let channels = if colour == Colour::Gray { 1 } else { 3 };
        let (width, height) = (width as usize, height as usize);
        let new = if order == Order::Pixels { Resampler::new } else { Resampler::planar };
        let resampler = new(channels, width, Side::of(width), Side::of(height), output.x, output.y);
        let row_bytes = width * channels;
        Rows { output, resampler, colour, strip: vec![0; STRIP * row_bytes], row_bytes, rows: 0 }
    }

    /// Adds the next row; `write` fills its bytes.
    pub(crate) fn push<E>(&mut self, write: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        write(&mut self.strip[self.rows * self.row_bytes..][..self.row_bytes])?;
        self.rows += 1;
        if self.rows == STRIP {
            self.flush();
        }
        Ok(())
    }

    /// Processes the remaining rows. Call after the last row.
    pub(crate) fn finish(mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        // If the height grows, a row gives several rows of the result, so only one at a time is resized.
        let part = if self.resampler.grows() { 1 } else { STRIP };
        for first in (0..self.rows).step_by(part) {
            let rows = &self.strip[first * self.row_bytes..];
            self.resampler.feed(rows, self.row_bytes, part.min(self.rows - first));
            let ready = self.resampler.ready();
            for row in 0..ready {
                let channel =
                    |channel: usize| self.resampler.row(row, if self.colour == Colour::Gray { 0 } else { channel });
                self.output.put(self.colour, [channel(0), channel(1), channel(2)]);
            }
            self.resampler.discard_rows(ready);
        }
        self.rows = 0;
    }
}

/// Estimates the bytes that [`Rows`] allocates.
pub(crate) fn rows_bytes(width: u32, height: u32, y: Axis) -> u64 {
    let (width, height) = (u64::from(width), u64::from(height));
    3 * STRIP as u64 * width + resampler_bytes(3, width, height, y)
}
