//! The header of a frame (RFC 6386, section 9).

use super::bits::Bits;
use super::filter::Strength;
use super::residual::Factors;
use super::tables::{AC, DC};
use super::tokens::{Probabilities, TOKENS};
use super::updates::UPDATES;
use crate::limits::Rejected;
use crate::webp::container::truncated;

/// The factors of coefficients: of luma, of the block of first coefficients, and of chroma.
#[derive(Clone, Copy, Default)]
pub(super) struct Quantizer {
    pub(super) luma: Factors,
    pub(super) means: Factors,
    pub(super) chroma: Factors,
}

/// The loop filters of an image.
pub(super) struct Filters {
    pub(super) simple: bool,
    /// For each segment, for macroblocks with one mode and for those with a mode for each block.
    pub(super) strengths: [[Strength; 2]; 4],
}

pub(super) struct Frame<'a> {
    /// The partition of the header and the modes.
    pub(super) first: Bits<'a>,
    /// The partitions of the coefficients.
    pub(super) others: Vec<Bits<'a>>,
    /// The probabilities of the segment of a macroblock, if it is stored.
    pub(super) segments: Option<[u8; 3]>,
    pub(super) quantizers: [Quantizer; 4],
    /// `None` if the image is not filtered.
    pub(super) filters: Option<Filters>,
    pub(super) tokens: Box<Probabilities>,
    /// The probability that a macroblock has coefficients, if that is stored.
    pub(super) skip: Option<u8>,
}

impl<'a> Frame<'a> {
    /// Reads the header (section 9). Returns the width and the height, too.
    pub(super) fn read(data: &'a [u8]) -> Result<(usize, usize, Self), Rejected> {
        let (head, data) = data.split_first_chunk::<10>().ok_or_else(truncated)?;
        let first_length = u32::from_le_bytes([head[0], head[1], head[2], 0]) >> 5;
        let side = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]) & 0x3FFF);
        let (first, rest) = data.split_at_checked(first_length as usize).ok_or_else(truncated)?;
        let mut first = Bits::new(first);
        // The colour space and whether values are clamped.
        first.number(2);
        let mut segments = None;
        // Levels that are not stored are 0, and not those of the image, as in libwebp.
        let (mut levels, mut filter_levels, mut absolute) = ([0; 4], [0; 4], true);
        let segmented = first.flag();
        if segmented {
            let stored = first.flag();
            if first.flag() {
                absolute = first.flag();
                levels = std::array::from_fn(|_| first.optional(7));
                filter_levels = std::array::from_fn(|_| first.optional(6));
            }
            if stored {
                segments = Some(std::array::from_fn(|_| if first.flag() { first.number(8) as u8 } else { 255 }));
            }
        }
        let filters = Filters::read(&mut first, filter_levels, segmented, absolute);
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
        Ok((side(6), side(8), Frame { first, others, segments, quantizers, filters, tokens, skip }))
    }
}

impl Filters {
    /// Reads the loop filters (section 9.6); `levels` are those of the segments.
    fn read(bits: &mut Bits<'_>, levels: [i32; 4], segmented: bool, absolute: bool) -> Option<Self> {
        let simple = bits.flag();
        let (base, sharpness) = (bits.number(6), bits.number(3));
        let (mut of_frame, mut of_blocks) = (0, 0);
        if bits.flag() && bits.flag() {
            // For each kind of prediction. The first kind is that within the image.
            let kinds: [i32; 4] = std::array::from_fn(|_| bits.optional(6));
            let modes: [i32; 4] = std::array::from_fn(|_| bits.optional(6));
            (of_frame, of_blocks) = (kinds[0], modes[0]);
        }
        let strengths = levels.map(|level| {
            let level = match (segmented, absolute) {
                (true, true) => level,
                (true, false) => base + level,
                (false, _) => base,
            };
            let strength = |more: i32, inner: bool| Strength::new(level + of_frame + more, sharpness, inner);
            [strength(0, false), strength(of_blocks, true)]
        });
        (base > 0).then_some(Filters { simple, strengths })
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
