//! The last two rows of macroblocks. Rows of pixels leave them when the loop filter cannot change them any more.

use super::edges::{horizontal, horizontal_pair, vertical, vertical_pair};
use super::filter::{Edge, Strength};
use super::predict::{Block, CHROMA, LUMA, STRIDE};
use crate::lanes::Lanes;

/// Luma and chroma of two rows of macroblocks, and the pixels above the next row before they were filtered.
pub(super) struct Planes {
    /// Pixels from one row to the next, in luma; chroma has half of it.
    stride: usize,
    luma: Vec<u8>,
    chroma: [Vec<u8>; 2],
    above: Vec<u8>,
    above_chroma: [Vec<u8>; 2],
}

/// Estimates the bytes of the planes of an image of this width, and of the rows that colours are computed from.
pub(super) fn planes_bytes(width: u64) -> u64 {
    (width + 16) * (32 + 16 + 2 + 2)
}

impl Planes {
    /// For an image of this many macroblocks horizontally.
    pub(super) fn new(across: usize) -> Self {
        let stride = 16 * across;
        Planes {
            stride,
            luma: vec![0; 32 * stride],
            chroma: [(); 2].map(|()| vec![0; 8 * stride]),
            above: vec![0; stride],
            above_chroma: [(); 2].map(|()| vec![0; stride / 2]),
        }
    }

    /// Sets the neighbours of the macroblock in this column: those on the left from the block before it, and those above.
    pub(super) fn set_neighbours(&self, block: &mut Block, column: usize, is_first_row: bool) {
        if column == 0 {
            let (above, left) = if is_first_row { (127, 129) } else { (0, 129) };
            block[..STRIDE].fill(above);
            block[17 * STRIDE..18 * STRIDE].fill(above);
            for (first, rows) in [(LUMA, 16), (CHROMA[0], 8), (CHROMA[1], 8)] {
                block[first - STRIDE - 1] = if is_first_row { 127 } else { 129 };
                for row in 0..rows {
                    block[first + row * STRIDE - 1] = left;
                }
            }
        } else {
            // The corner is in the row above.
            for row in 0..17 {
                block[LUMA + row * STRIDE - STRIDE - 1] = block[LUMA + row * STRIDE - STRIDE + 15];
            }
            for first in CHROMA {
                for row in 0..9 {
                    block[first + row * STRIDE - STRIDE - 1] = block[first + row * STRIDE - STRIDE + 7];
                }
            }
        }
        if is_first_row {
            return;
        }
        let above = &self.above[16 * column..];
        block[LUMA - STRIDE..][..16].copy_from_slice(&above[..16]);
        let right = &mut block[LUMA - STRIDE + 16..][..4];
        match above.get(16..20) {
            Some(next) => right.copy_from_slice(next),
            // The last column repeats its last pixel.
            None => right.fill(above[15]),
        }
        for (first, above) in CHROMA.into_iter().zip(&self.above_chroma) {
            block[first - STRIDE..][..8].copy_from_slice(&above[8 * column..][..8]);
        }
    }

    /// Stores a decoded macroblock and filters its edges.
    pub(super) fn store<L: Lanes>(
        &mut self,
        block: &Block,
        column: usize,
        row: usize,
        strength: Option<(Strength, bool)>,
    ) {
        let (stride, half) = (self.stride, self.stride / 2);
        let at = (row % 2) * 16 * stride + 16 * column;
        for line in 0..16 {
            self.luma[at + line * stride..][..16].copy_from_slice(&block[LUMA + line * STRIDE..][..16]);
        }
        self.above[16 * column..][..16].copy_from_slice(&block[LUMA + 15 * STRIDE..][..16]);
        let at = (row % 2) * 8 * half + 8 * column;
        for ((first, plane), above) in CHROMA.into_iter().zip(&mut self.chroma).zip(&mut self.above_chroma) {
            for line in 0..8 {
                plane[at + line * half..][..8].copy_from_slice(&block[first + line * STRIDE..][..8]);
            }
            above[8 * column..][..8].copy_from_slice(&block[first + 7 * STRIDE..][..8]);
        }
        match strength {
            Some((strength, _)) if strength.limit == 0 => {}
            Some((strength, true)) => self.filter_simple::<L>(column, row, strength),
            Some((strength, false)) => self.filter::<L>(column, row, strength),
            None => {}
        }
    }

    /// The positions of the four rows before an edge and of the four after it. `line` is the first row of the macroblock
    /// after the edge, and a macroblock has `side` rows.
    fn rows(row: usize, line: usize, side: usize, stride: usize, x: usize) -> [usize; 8] {
        let first = (row % 2) * side + line + 2 * side - 4;
        std::array::from_fn(|line| (first + line) % (2 * side) * stride + x)
    }

    fn filter_simple<L: Lanes>(&mut self, column: usize, row: usize, strength: Strength) {
        let (stride, x) = (self.stride, 16 * column);
        let at = (row % 2) * 16 * stride + x;
        let (inner, outer) = (strength.limit, strength.limit + 4);
        if column > 0 {
            vertical::<L>(&mut self.luma, at, stride, Edge::Simple, outer, strength);
        }
        if strength.inner {
            for edge in [4, 8, 12] {
                vertical::<L>(&mut self.luma, at + edge, stride, Edge::Simple, inner, strength);
            }
        }
        if row > 0 {
            horizontal::<L>(&mut self.luma, Self::rows(row, 0, 16, stride, x), Edge::Simple, outer, strength);
        }
        if strength.inner {
            for edge in [4, 8, 12] {
                horizontal::<L>(&mut self.luma, Self::rows(row, edge, 16, stride, x), Edge::Simple, inner, strength);
            }
        }
    }

    fn filter<L: Lanes>(&mut self, column: usize, row: usize, strength: Strength) {
        let (stride, half, x) = (self.stride, self.stride / 2, 16 * column);
        let at = (row % 2) * 16 * stride + x;
        let at_chroma = (row % 2) * 8 * half + x / 2;
        let (inner, outer) = (strength.limit, strength.limit + 4);
        if column > 0 {
            vertical::<L>(&mut self.luma, at, stride, Edge::Outer, outer, strength);
            vertical_pair::<L>(&mut self.chroma, at_chroma, half, Edge::Outer, outer, strength);
        }
        if strength.inner {
            for edge in [4, 8, 12] {
                vertical::<L>(&mut self.luma, at + edge, stride, Edge::Inner, inner, strength);
            }
            vertical_pair::<L>(&mut self.chroma, at_chroma + 4, half, Edge::Inner, inner, strength);
        }
        if row > 0 {
            horizontal::<L>(&mut self.luma, Self::rows(row, 0, 16, stride, x), Edge::Outer, outer, strength);
            let rows = Self::rows(row, 0, 8, half, x / 2);
            horizontal_pair::<L>(&mut self.chroma, rows, Edge::Outer, outer, strength);
        }
        if strength.inner {
            for edge in [4, 8, 12] {
                horizontal::<L>(&mut self.luma, Self::rows(row, edge, 16, stride, x), Edge::Inner, inner, strength);
            }
            let rows = Self::rows(row, 4, 8, half, x / 2);
            horizontal_pair::<L>(&mut self.chroma, rows, Edge::Inner, inner, strength);
        }
    }

    /// A row of luma, which must be among the last 32.
    pub(super) fn luma(&self, y: usize, width: usize) -> &[u8] {
        &self.luma[y % 32 * self.stride..][..width]
    }

    /// A row of chroma, which must be among the last 16.
    pub(super) fn chroma(&self, plane: usize, y: usize) -> &[u8] {
        &self.chroma[plane][y % 16 * (self.stride / 2)..][..self.stride / 2]
    }
}
