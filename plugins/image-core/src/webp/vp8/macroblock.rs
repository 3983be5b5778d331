//! Decodes a macroblock: reads its modes and coefficients, predicts its pixels and adds the transforms.

use super::filter::Strength;
use super::header::Frame;
use super::modes::Modes;
use super::predict::{self, Block, CHROMA, LUMA, Neighbours, STRIDE};
use super::residual::{self, Coefficients, TooLarge};
use super::transform;
use crate::lanes::Lanes;

/// What the blocks at an edge of a macroblock say about the next one.
#[derive(Clone, Copy, Default)]
pub(super) struct Edge {
    modes: [u8; 4],
    /// Whether blocks have coefficients: luma, blue and red chroma, and the block of first coefficients.
    luma: [bool; 4],
    chroma: [[bool; 2]; 2],
    means: bool,
}

impl Frame<'_> {
    /// Decodes the next macroblock to `block`, which has its neighbours. Returns how it is filtered, and whether with the
    /// simple filter.
    pub(super) fn macroblock<L: Lanes>(
        &mut self,
        top: &mut Edge,
        left: &mut Edge,
        partition: usize,
        block: &mut Block,
        neighbours: Neighbours,
    ) -> Result<Option<(Strength, bool)>, TooLarge> {
        let first = &mut self.first;
        let segment = match self.segments {
            Some([which, _, high]) if first.bit(which) => 2 + usize::from(first.bit(high)),
            Some([_, low, _]) => usize::from(first.bit(low)),
            None => 0,
        };
        let skipped = self.skip.is_some_and(|zero| first.bit(zero));
        let modes = Modes::read(first, &mut top.modes, &mut left.modes);
        let filled = if skipped {
            predict_all(&modes, block, neighbours);
            let means = |edge: &Edge| edge.means && !modes.whole;
            *top = Edge { modes: top.modes, means: means(top), ..Edge::default() };
            *left = Edge { modes: left.modes, means: means(left), ..Edge::default() };
            false
        } else {
            self.pixels::<L>(&modes, [top, left], (segment, partition), block, neighbours)?
        };
        Ok(self.filters.as_ref().map(|filters| {
            let strength = filters.strengths[segment][usize::from(!modes.whole)];
            (Strength { inner: strength.inner || filled, ..strength }, filters.simple)
        }))
    }

    /// Reads the coefficients and adds their transforms to the prediction. Returns true if there are any.
    fn pixels<L: Lanes>(
        &mut self,
        modes: &Modes,
        [top, left]: [&mut Edge; 2],
        (segment, partition): (usize, usize),
        block: &mut Block,
        neighbours: Neighbours,
    ) -> Result<bool, TooLarge> {
        let bits = &mut self.others[partition];
        let quantizer = &self.quantizers[segment];
        let mut means = None;
        if modes.whole {
            let context = usize::from(top.means) + usize::from(left.means);
            let (block, any) = residual::means(bits, &self.tokens[1], context, quantizer.means)?;
            (top.means, left.means, means) = (any, any, Some(block));
        }
        predict_start(modes, block, neighbours);
        let tokens = &self.tokens[if modes.whole { 0 } else { 3 }];
        let mut filled = false;
        for (row, left) in left.luma.iter_mut().enumerate() {
            for (column, top) in top.luma.iter_mut().enumerate() {
                let context = usize::from(*top) + usize::from(*left);
                let mean = means.map(|means| means[4 * row + column]);
                let coefficients = residual::block(bits, tokens, context, quantizer.luma, mean)?;
                (*top, *left) = (coefficients.any, coefficients.any);
                let at = LUMA + 4 * row * STRIDE + 4 * column;
                if !modes.whole {
                    predict::small(block, at, modes.blocks[row][column]);
                }
                filled |= add::<L>(block, at, &coefficients);
            }
        }
        for ((first, top), left) in CHROMA.into_iter().zip(&mut top.chroma).zip(&mut left.chroma) {
            predict::whole::<8>(block, first, modes.chroma, neighbours);
            for (row, left) in left.iter_mut().enumerate() {
                for (column, top) in top.iter_mut().enumerate() {
                    let context = usize::from(*top) + usize::from(*left);
                    let coefficients = residual::block(bits, &self.tokens[2], context, quantizer.chroma, None)?;
                    (*top, *left) = (coefficients.any, coefficients.any);
                    filled |= add::<L>(block, first + 4 * row * STRIDE + 4 * column, &coefficients);
                }
            }
        }
        Ok(filled)
    }
}

/// Adds the transform of a block. Returns false if it has no coefficient.
#[inline(always)]
fn add<L: Lanes>(block: &mut Block, at: usize, coefficients: &Coefficients) -> bool {
    let first = coefficients.numbers[0];
    if coefficients.many {
        transform::add::<L>(block, at, &coefficients.numbers);
    } else if first != 0 {
        transform::add_first::<L>(block, at, first);
    }
    coefficients.many || first != 0
}

/// Predicts luma if it has one mode. Otherwise, prepares the pixels on the upper right of its blocks.
fn predict_start(modes: &Modes, block: &mut Block, neighbours: Neighbours) {
    if modes.whole {
        predict::whole::<16>(block, LUMA, modes.blocks[0][0], neighbours);
        return;
    }
    // All rows of blocks have those of the first row.
    for row in [4, 8, 12] {
        block.copy_within(LUMA - STRIDE + 16..LUMA - STRIDE + 20, LUMA + row * STRIDE - STRIDE + 16);
    }
}

/// Predicts a macroblock without coefficients.
fn predict_all(modes: &Modes, block: &mut Block, neighbours: Neighbours) {
    predict_start(modes, block, neighbours);
    if !modes.whole {
        for (row, modes) in modes.blocks.iter().enumerate() {
            for (column, mode) in modes.iter().enumerate() {
                predict::small(block, LUMA + 4 * row * STRIDE + 4 * column, *mode);
            }
        }
    }
    for first in CHROMA {
        predict::whole::<8>(block, first, modes.chroma, neighbours);
    }
}
