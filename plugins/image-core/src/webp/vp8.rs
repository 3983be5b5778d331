//! Checks the data of a lossy image (RFC 6386) by reading all of it except the pixels. libwebp refuses an image that
//! needs more bytes than it has; the decoder of this crate reads one byte beyond the end, and then returns other pixels.

mod bits;
mod residual;
mod tables;
mod tokens;
mod updates;

use super::container::truncated;
use crate::limits::Rejected;
use bits::Bits;
use residual::{Factors, TooLarge};
use tables::{AC, BLOCK_MODES, DC};
use tokens::{Probabilities, TOKENS};
use updates::UPDATES;

/// The tree of the modes of a block of 4 x 4 pixels (section 8.1); the leaves are negative, the first of them is 0.
const MODE_TREE: [i8; 18] = [0, 2, -1, 4, -2, 6, 8, 12, -3, 10, -5, -6, -4, 14, -7, 16, -8, -9];
/// The modes that a whole macroblock can have, as modes of its blocks.
const MEAN: u8 = 0;
const TRUE_MOTION: u8 = 1;
const VERTICAL: u8 = 2;
const HORIZONTAL: u8 = 3;

/// What the blocks at an edge of a macroblock say about the next one.
#[derive(Clone, Copy, Default)]
struct Edge {
    modes: [u8; 4],
    /// Whether blocks have coefficients: luma, blue and red chroma, and the block of first coefficients.
    luma: [bool; 4],
    chroma: [[bool; 2]; 2],
    means: bool,
}

/// The factors of coefficients: of luma, of the block of first coefficients, and of chroma.
#[derive(Clone, Copy, Default)]
struct Quantizer {
    luma: Factors,
    means: Factors,
    chroma: Factors,
}

struct Frame<'a> {
    /// The partition of the header and the modes.
    first: Bits<'a>,
    /// The partitions of the coefficients.
    others: Vec<Bits<'a>>,
    /// The probabilities of the segment of a macroblock, if it is stored.
    segments: Option<[u8; 3]>,
    quantizers: [Quantizer; 4],
    tokens: Box<Probabilities>,
    /// The probability that a macroblock has coefficients, if that is stored.
    skip: Option<u8>,
}

/// Checks the data of a `VP8 ` chunk whose head was checked.
///
/// # Errors
/// [`Rejected::Broken`] if libwebp would refuse them, or a coefficient is so large that decoders differ.
pub(super) fn check(data: &[u8]) -> Result<(), Rejected> {
    let (width, height, mut frame) = Frame::read(data)?;
    let mut above = vec![Edge::default(); width.div_ceil(16)];
    let partitions = frame.others.len();
    for row in 0..height.div_ceil(16) {
        let mut left = Edge::default();
        let partition = row % partitions;
        for top in &mut above {
            frame
                .macroblock(top, &mut left, partition)
                .map_err(|TooLarge| Rejected::broken("WebP", "it has numbers that are larger than in any picture"))?;
        }
        if frame.first.has_ended() || frame.others[partition].has_ended() {
            return Err(truncated());
        }
    }
    Ok(())
}

impl<'a> Frame<'a> {
    /// Reads the header (section 9). Returns the width and the height, too.
    fn read(data: &'a [u8]) -> Result<(usize, usize, Self), Rejected> {
        let (head, data) = data.split_first_chunk::<10>().ok_or_else(truncated)?;
        let first_length = u32::from_le_bytes([head[0], head[1], head[2], 0]) >> 5;
        let side = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]) & 0x3FFF);
        let (first, rest) = data.split_at_checked(first_length as usize).ok_or_else(truncated)?;
        let mut first = Bits::new(first);
        // The colour space and whether values are clamped.
        first.number(2);
        let mut segments = None;
        let (mut levels, mut absolute) = ([0; 4], false);
        let segmented = first.flag();
        if segmented {
            let stored = first.flag();
            if first.flag() {
                absolute = first.flag();
                levels = std::array::from_fn(|_| first.optional(7));
                for _ in 0..4 {
                    first.optional(6);
                }
            }
            if stored {
                segments = Some(std::array::from_fn(|_| if first.flag() { first.number(8) as u8 } else { 255 }));
            }
        }
        // The loop filter.
        first.number(10);
        if first.flag() && first.flag() {
            for _ in 0..8 {
                first.optional(6);
            }
        }
        let others = partitions(rest, 1 << first.number(2)).ok_or_else(truncated)?;
        let quantizers = quantizers(&mut first, levels, segmented, absolute);
        // Whether the probabilities are kept for another frame.
        first.flag();
        let mut tokens = Box::new(TOKENS);
        let updates = UPDATES.as_flattened().as_flattened().as_flattened();
        for (token, update) in tokens.as_flattened_mut().as_flattened_mut().as_flattened_mut().iter_mut().zip(updates) {
            if first.bit(*update) {
                *token = first.number(8) as u8;
            }
        }
        let skip = first.flag().then(|| first.number(8) as u8);
        Ok((side(6), side(8), Frame { first, others, segments, quantizers, tokens, skip }))
    }

    /// Reads a macroblock: its modes and its coefficients.
    fn macroblock(&mut self, top: &mut Edge, left: &mut Edge, partition: usize) -> Result<(), TooLarge> {
        let first = &mut self.first;
        let segment = match self.segments {
            Some([which, _, high]) if first.bit(which) => 2 + usize::from(first.bit(high)),
            Some([_, low, _]) => usize::from(first.bit(low)),
            None => 0,
        };
        let skipped = self.skip.is_some_and(|zero| first.bit(zero));
        let whole = modes(first, top, left);
        if skipped {
            let means = |edge: &Edge| edge.means && !whole;
            *top = Edge { modes: top.modes, means: means(top), ..Edge::default() };
            *left = Edge { modes: left.modes, means: means(left), ..Edge::default() };
            return Ok(());
        }

        let bits = &mut self.others[partition];
        let quantizer = &self.quantizers[segment];
        let mut means = None;
        if whole {
            let context = usize::from(top.means) + usize::from(left.means);
            let (block, any) = residual::means(bits, &self.tokens[1], context, quantizer.means)?;
            (top.means, left.means, means) = (any, any, Some(block));
        }
        let tokens = &self.tokens[if whole { 0 } else { 3 }];
        for (row, left) in left.luma.iter_mut().enumerate() {
            for (column, top) in top.luma.iter_mut().enumerate() {
                let context = usize::from(*top) + usize::from(*left);
                let mean = means.map(|means| means[4 * row + column]);
                let any = residual::check(bits, tokens, context, quantizer.luma, mean)?;
                (*top, *left) = (any, any);
            }
        }
        for (top, left) in top.chroma.iter_mut().zip(&mut left.chroma) {
            for left in left {
                for top in &mut *top {
                    let context = usize::from(*top) + usize::from(*left);
                    let any = residual::check(bits, &self.tokens[2], context, quantizer.chroma, None)?;
                    (*top, *left) = (any, any);
                }
            }
        }
        Ok(())
    }
}

/// Splits the data after the first partition (section 9.5). The last partition has no length.
fn partitions(data: &[u8], count: usize) -> Option<Vec<Bits<'_>>> {
    let (lengths, mut rest) = data.split_at_checked(3 * (count - 1))?;
    let mut partitions = Vec::with_capacity(count);
    for length in lengths.as_chunks::<3>().0 {
        let length = u32::from_le_bytes([length[0], length[1], length[2], 0]) as usize;
        let (partition, after) = rest.split_at_checked(length)?;
        partitions.push(Bits::new(partition));
        rest = after;
    }
    partitions.push(Bits::new(rest));
    (!rest.is_empty()).then_some(partitions)
}

/// Reads the quantizers of the four segments (section 9.6).
fn quantizers(bits: &mut Bits<'_>, levels: [i32; 4], segmented: bool, absolute: bool) -> [Quantizer; 4] {
    let base = bits.number(7);
    let [luma, means, other_means, chroma, other_chroma] = std::array::from_fn(|_| bits.optional(4));
    levels.map(|level| {
        let level = match (segmented, absolute) {
            (true, true) => level,
            (true, false) => base + level,
            (false, _) => base,
        };
        let factor = |table: &[i32; 128], more: i32, most: i32| table[(level + more).clamp(0, most) as usize];
        Quantizer {
            luma: [factor(&DC, luma, 127), factor(&AC, 0, 127)],
            means: [2 * factor(&DC, means, 127), (factor(&AC, other_means, 127) * 155 / 100).max(8)],
            chroma: [factor(&DC, chroma, 117), factor(&AC, other_chroma, 127)],
        }
    })
}

/// Reads the modes of a macroblock (section 11). Returns true if its luma has one mode, so that the first coefficients
/// of its blocks are stored in a separate block.
fn modes(bits: &mut Bits<'_>, top: &mut Edge, left: &mut Edge) -> bool {
    let whole = bits.bit(145);
    if whole {
        let mode = match bits.bit(156) {
            true if bits.bit(128) => TRUE_MOTION,
            true => HORIZONTAL,
            false if bits.bit(163) => VERTICAL,
            false => MEAN,
        };
        (top.modes, left.modes) = ([mode; 4], [mode; 4]);
    } else {
        for left in &mut left.modes {
            for top in &mut top.modes {
                let probabilities = &BLOCK_MODES[usize::from(*top)][usize::from(*left)];
                let mut at = 0;
                loop {
                    let next = MODE_TREE[at + usize::from(bits.bit(probabilities[at / 2]))];
                    if next <= 0 {
                        (*top, *left) = (next.unsigned_abs(), next.unsigned_abs());
                        break;
                    }
                    at = next as usize;
                }
            }
        }
    }
    // The mode of chroma.
    if bits.bit(142) && bits.bit(114) {
        bits.bit(183);
    }
    whole
}
