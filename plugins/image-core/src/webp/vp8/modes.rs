//! The modes of a macroblock (RFC 6386, section 11).

use super::bits::Bits;
use super::predict::{HORIZONTAL, MEAN, TRUE_MOTION, VERTICAL};
use super::tables::BLOCK_MODES;

/// The tree of the modes of a block of 4 x 4 pixels (section 8.1); the leaves are negative, the first of them is 0.
const MODE_TREE: [i8; 18] = [0, 2, -1, 4, -2, 6, 8, 12, -3, 10, -5, -6, -4, 14, -7, 16, -8, -9];

/// The modes of a macroblock.
pub(super) struct Modes {
    /// True if its luma has one mode, so that the first coefficients of its blocks are stored in a separate block.
    pub(super) whole: bool,
    /// Those of the blocks of luma.
    pub(super) blocks: [[u8; 4]; 4],
    pub(super) chroma: u8,
}

impl Modes {
    /// Reads the modes. `top` and `left` are the modes of the blocks above and on the left, and then those for the next
    /// macroblocks.
    pub(super) fn read(bits: &mut Bits<'_>, top: &mut [u8; 4], left: &mut [u8; 4]) -> Self {
        let whole = bits.bit(145);
        let mut blocks = [[0; 4]; 4];
        if whole {
            let mode = match bits.bit(156) {
                true if bits.bit(128) => TRUE_MOTION,
                true => HORIZONTAL,
                false if bits.bit(163) => VERTICAL,
                false => MEAN,
            };
            (*top, *left, blocks) = ([mode; 4], [mode; 4], [[mode; 4]; 4]);
        } else {
            for (left, blocks) in left.iter_mut().zip(&mut blocks) {
                for (top, block) in top.iter_mut().zip(blocks) {
                    let probabilities = &BLOCK_MODES[usize::from(*top)][usize::from(*left)];
                    let mut at = 0;
                    loop {
                        let next = MODE_TREE[at + usize::from(bits.bit(probabilities[at / 2]))];
                        if next <= 0 {
                            *block = next.unsigned_abs();
                            break;
                        }
                        at = next as usize;
                    }
                    (*top, *left) = (*block, *block);
                }
            }
        }
        let chroma = match bits.bit(142) {
            false => MEAN,
            true if !bits.bit(114) => VERTICAL,
            true if bits.bit(183) => TRUE_MOTION,
            true => HORIZONTAL,
        };
        Modes { whole, blocks, chroma }
    }
}
