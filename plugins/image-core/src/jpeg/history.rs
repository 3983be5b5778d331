//! The last rows of samples of a component.

use super::headers::{Component, Headers};
use super::plane::{strip_stride, upsampling};
use crate::resample::Upsampling;

/// The last two strips of a component and the row before them. A row of pixels may need samples of the next strip, so it
/// is converted when that strip has arrived.
pub(super) struct History {
    /// The last row before the previous strip.
    last: Vec<u8>,
    previous: Vec<u8>,
    current: Vec<u8>,
    /// Samples from one row to the next, and those that are part of the image.
    stride: usize,
    width: usize,
    /// Rows of the component.
    height: usize,
    /// Rows of a strip.
    strip: usize,
    pub(super) upsampling: [Upsampling; 2],
}

/// Estimates the bytes of the histories of all components and of the strips that are filled.
pub(super) fn histories_bytes(headers: &Headers) -> u64 {
    let strips = headers.components.iter().map(|component| {
        let across = (headers.samples(component).0 + 32) as u64;
        (3 * 8 * component.down as u64 + 1) * across
    });
    strips.sum()
}

impl History {
    pub(super) fn new(headers: &Headers, component: &Component) -> History {
        let (width, height) = headers.samples(component);
        let strip = 8 * component.down;
        let stride = strip_stride(headers, component, 8);
        let rows = |count: usize| vec![0; count * stride];
        let upsampling = upsampling(headers, component);
        History { last: rows(1), previous: rows(strip), current: rows(strip), stride, width, height, strip, upsampling }
    }

    /// Takes the next strip. `strip` gets the oldest one, to be overwritten.
    pub(super) fn take_strip(&mut self, strip: &mut Vec<u8>) {
        self.last.copy_from_slice(&self.previous[(self.strip - 1) * self.stride..]);
        std::mem::swap(&mut self.previous, &mut self.current);
        std::mem::swap(&mut self.current, strip);
    }

    /// Samples of a row that are part of the image.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Samples from one row to the next, a multiple of sixteen.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn is_subsampled(&self) -> bool {
        self.upsampling != [Upsampling::None; 2]
    }

    /// The samples of a row, or of the first or last row if there is no such row. `strip` is the number of the previous
    /// strip.
    pub(super) fn row(&self, strip: isize, row: isize) -> &[u8] {
        &self.padded_row(strip, row)[..self.width]
    }

    /// Like [`History::row`], with the samples that pad the row to a multiple of 16.
    pub(super) fn padded_row(&self, strip: isize, row: isize) -> &[u8] {
        let row = row.clamp(0, self.height as isize - 1) - strip * self.strip as isize;
        let (rows, row) = match row {
            ..0 => (&self.last, 0),
            row if (row as usize) < self.strip => (&self.previous, row as usize),
            row => (&self.current, row as usize - self.strip),
        };
        &rows[row * self.stride..][..self.stride]
    }
}
