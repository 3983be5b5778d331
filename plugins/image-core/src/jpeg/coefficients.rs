//! Reads the coefficients of a block that are coded with Huffman's codes.

use super::bits::BitReader;
use super::huffman::{Code, END_OF_BLOCK, SKIP_BITS, Skip, signed_bits};
use super::tables::ZIGZAG;
use crate::lanes::Lanes;

/// The coefficients of a block, row by row.
pub(super) type Coefficients = [i16; 64];

/// Decodes a DC difference.
#[inline(always)]
pub(super) fn dc_difference<L: Lanes>(bits: &mut BitReader<L>, code: &Code) -> Option<i16> {
    let look = bits.peek();
    let entry = code.entry(look)?;
    bits.skip(entry.bits());
    Some(signed_bits(look, entry.bits() - entry.size(), entry.size()) as i16)
}

/// The place of the coefficient before each index, see [`ZIGZAG`].
const BEFORE: [u8; 128] = {
    let mut places = [0; 128];
    let mut index = 1;
    while index < 128 {
        places[index] = ZIGZAG[index - 1];
        index += 1;
    }
    places
};

/// What [`ac_coefficients`] returns if the data have bits that are not a code word.
pub(super) const NO_CODE_WORD: usize = 64;

/// Decodes the AC coefficients of a block. Returns the index of the last coefficient in zigzag order, 0 if there are none, or
/// [`NO_CODE_WORD`].
// Not an `Option`, which WebAssembly returns in memory.
#[inline(always)]
pub(super) fn ac_coefficients<L: Lanes>(bits: &mut BitReader<L>, code: &Code, block: &mut Coefficients) -> usize {
    coefficients_from(1, bits, code, code, block)
}

/// Like [`ac_coefficients`], with the DC difference as the first coefficient.
#[inline(always)]
pub(super) fn coefficients<L: Lanes>(bits: &mut BitReader<L>, dc: &Code, ac: &Code, block: &mut Coefficients) -> usize {
    coefficients_from(0, bits, dc, ac, block)
}

/// `index` is that of the first coefficient: 0 or 1.
#[inline(always)]
fn coefficients_from<L: Lanes>(
    mut index: usize,
    bits: &mut BitReader<L>,
    dc: &Code,
    ac: &Code,
    block: &mut Coefficients,
) -> usize {
    loop {
        let state = some_coefficients(bits, dc, ac, block, index);
        bits.set_position((state >> 9) as usize);
        index = (state & 0x7F) as usize;
        if state & IS_LAST != 0 {
            return index;
        }
        if state & IS_LONG == 0 {
            continue;
        }
        // One coefficient with a code word of any length.
        if index == 0 {
            let Some(difference) = dc_difference(bits, dc) else { return NO_CODE_WORD };
            block[0] = difference;
            index = 1;
            continue;
        }
        let look = bits.peek();
        let Some(entry) = ac.entry(look) else { return NO_CODE_WORD };
        bits.skip(entry.bits());
        if entry.run() >= END_OF_BLOCK {
            return index - 1;
        }
        index += entry.steps() as usize;
        let number = if entry.has_number() {
            entry.number()
        } else {
            signed_bits(look, entry.bits() - entry.size(), entry.size())
        };
        block[usize::from(BEFORE[index & 127]) & 63] = number as i16;
        if index >= 64 {
            return 63;
        }
    }
}

/// Set in the result of [`some_coefficients`] if the index is that of the last coefficient.
const IS_LAST: u64 = 0x80;
/// Set in the result of [`some_coefficients`] if a long code word follows.
const IS_LONG: u64 = 0x100;

/// Decodes coefficients until the end of the block, a long code word, or twenty-two coefficients. Returns the position in the
/// data, the index in the lowest seven bits, and [`IS_LAST`] or [`IS_LONG`].
// For WebAssembly, this function has neither calls nor loops, which contain a call if the deadline has passed: a variable that
// is used after a call would be on the stack and not in a register.
#[inline(never)]
fn some_coefficients<L: Lanes>(
    bits: &BitReader<L>,
    dc: &Code,
    ac: &Code,
    block: &mut Coefficients,
    mut index: usize,
) -> u64 {
    let mut upcoming = bits.upcoming();
    bits.read_more(&mut upcoming);
    if index == 0 {
        let entry = dc.look_up(upcoming.bits);
        if !entry.exists() {
            return (upcoming.position() as u64) << 9 | IS_LONG;
        }
        block[0] = signed_bits(upcoming.bits, entry.bits() - entry.size(), entry.size()) as i16;
        upcoming.skip(entry.bits());
        index = 1;
    }
    macro_rules! coefficient {
        () => {
            let entry = ac.look_up(upcoming.bits);
            let number = if entry.has_number() {
                entry.number()
            } else {
                if !entry.exists() {
                    return (upcoming.position() as u64) << 9 | IS_LONG | index as u64;
                }
                if entry.run() >= END_OF_BLOCK {
                    upcoming.skip(entry.bits());
                    return (upcoming.position() as u64) << 9 | IS_LAST | (index - 1) as u64;
                }
                signed_bits(upcoming.bits, entry.bits() - entry.size(), entry.size())
            };
            upcoming.skip(entry.bits());
            index += entry.steps() as usize;
            block[usize::from(BEFORE[index & 127]) & 63] = number as i16;
            if index >= 64 {
                return (upcoming.position() as u64) << 9 | IS_LAST | 63;
            }
        };
    }
    macro_rules! two {
        () => {
            bits.read_more(&mut upcoming);
            coefficient!();
            coefficient!();
        };
    }
    // A coefficient has at most 26 bits and a DC difference 27, so there are enough for two.
    coefficient!();
    two!();
    two!();
    two!();
    two!();
    two!();
    two!();
    two!();
    two!();
    two!();
    two!();
    (upcoming.position() as u64) << 9 | index as u64
}

/// Skips the AC coefficients of a block.
#[inline(always)]
pub(super) fn skip_ac<L: Lanes>(bits: &mut BitReader<L>, code: &Code, skips: &[Skip; 1 << SKIP_BITS]) -> Option<()> {
    let mut index = 1;
    loop {
        // Two skips per `peek`, as in `ac_coefficients`. A skip has at most 23 bits.
        let mut look = bits.peek();
        for _ in 0..2 {
            let skip = skips[(look >> (64 - SKIP_BITS)) as usize];
            let (taken, steps) = if index + skip.steps() <= 63 {
                if skip.ends() {
                    bits.skip(skip.bits());
                    return Some(());
                }
                (skip.bits(), skip.steps())
            } else {
                let entry = code.entry(look)?;
                (entry.bits(), entry.steps())
            };
            bits.skip(taken);
            index += steps;
            if index >= 64 {
                return Some(());
            }
            look <<= taken;
        }
    }
}
