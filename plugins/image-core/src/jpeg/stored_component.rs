//! A component of an image with several scans: the coefficients of all its blocks, and which of them were decoded.

use super::band::{Band, Block};
use super::fault::Fault;
use super::headers::{Component, Headers};
use super::plane::Plane;
use crate::lanes::Lanes;

/// The `lowest_bit` of a coefficient before the first scan that contains it.
const NOT_DECODED: u32 = 16;

/// A component and its coefficients.
pub(super) struct StoredComponent<L> {
    pub(super) plane: Plane<L>,
    /// Blocks of a row, including those that pad its last MCU.
    pub(super) stride: usize,
    /// Blocks of a row and of a column in a scan of only this component (non-interleaved).
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) coefficients: Coefficients,
    /// The lowest bit that was decoded of each coefficient.
    lowest_bit: [u32; 64],
}

/// The coefficients that are stored for each block of a component.
pub(super) enum Coefficients {
    /// None, because the component is not needed for the tensor. The value is scratch space for the current DC
    /// coefficient.
    Unused(i16),
    Dc(Vec<i16>),
    All(Vec<Block>),
}

impl<L: Lanes> StoredComponent<L> {
    pub(super) fn new(plane: Plane<L>, headers: &Headers, component: &Component) -> Self {
        let (columns, rows) = headers.mcus();
        let stride = columns * component.across;
        let blocks = stride * rows * component.down;
        let (width, height) = headers.samples(component);
        let coefficients = match plane.block_size {
            0 => Coefficients::Unused(0),
            1 => Coefficients::Dc(vec![0; blocks]),
            _ => Coefficients::All(vec![Block::EMPTY; blocks]),
        };
        StoredComponent {
            plane,
            stride,
            columns: width.div_ceil(8),
            rows: height.div_ceil(8),
            coefficients,
            lowest_bit: [NOT_DECODED; 64],
        }
    }

    /// Records that a scan follows. Fails if this scan is not allowed at this point.
    pub(super) fn record_scan(&mut self, band: &Band) -> Result<(), Fault> {
        let expected = if band.refines { band.low + 1 } else { NOT_DECODED };
        // The DC coefficient must precede all others.
        if band.first > 0 && !self.has_dc() {
            return Err(Fault::ScanOrder);
        }
        for lowest_bit in &mut self.lowest_bit[band.first..=band.last] {
            if *lowest_bit != expected {
                return Err(Fault::ScanOrder);
            }
            *lowest_bit = band.low;
        }
        Ok(())
    }

    /// True if a scan had the DC coefficients.
    pub(super) fn has_dc(&self) -> bool {
        self.lowest_bit[0] != NOT_DECODED
    }

    /// True if all bits of all coefficients were decoded.
    pub(super) fn is_complete(&self) -> bool {
        self.lowest_bit == [0; 64]
    }

    /// The DC coefficient of a block.
    #[inline(always)]
    pub(super) fn dc(&mut self, block: usize) -> &mut i16 {
        match &mut self.coefficients {
            Coefficients::Unused(dc) => dc,
            Coefficients::Dc(dcs) => &mut dcs[block],
            Coefficients::All(blocks) => &mut blocks[block].coefficients[0],
        }
    }

    /// Fills the strip with the samples of one row of MCUs.
    #[inline(never)]
    pub(super) fn fill_strip(&mut self, row: usize) {
        let blocks = row * self.plane.down * self.stride..(row + 1) * self.plane.down * self.stride;
        match &self.coefficients {
            Coefficients::Unused(_) => {}
            Coefficients::Dc(dcs) => {
                for (row, dcs) in dcs[blocks].chunks_exact(self.stride).enumerate() {
                    for (column, dc) in dcs.iter().enumerate() {
                        self.plane.strip[row * self.plane.stride + column] = self.plane.dc_sample(*dc);
                    }
                }
            }
            Coefficients::All(all) => {
                for (row, blocks) in all[blocks].chunks_exact(self.stride).enumerate() {
                    for (column, block) in blocks.iter().enumerate() {
                        let at = (row * self.plane.stride + column) * self.plane.block_size;
                        match self.plane.block_size {
                            2 => self.plane.block::<2>(block.rows(), block.last(), at),
                            _ => self.plane.block::<8>(block.rows(), block.last(), at),
                        }
                    }
                }
            }
        }
    }
}
