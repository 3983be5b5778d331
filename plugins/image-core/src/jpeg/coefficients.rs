//! Reads the coefficients of a block that are coded with Huffman's codes.

use super::bits::BitReader;
use super::huffman::{Code, END_OF_BLOCK, SKIP_BITS, Skip, signed_bits};
use super::tables::ZIGZAG;
use crate::lanes::Lanes;

/// The coefficients of a block, row by row. If there is room for as many as a byte can count, a place needs no check.
pub(super) type Coefficients<const ROOM: usize> = [i16; ROOM];

/// Decodes a DC difference.
#[inline(always)]
pub(super) fn dc_difference<L: Lanes>(bits: &mut BitReader<L>, code: &Code) -> Option<i16> {
    let look = bits.peek();
    let entry = code.entry(look)?;
    bits.skip(entry.bits());
    Some(signed_bits(look, entry.bits() - entry.size(), entry.size()) as i16)
}

/// The place of the coefficient before each index, see [`ZIGZAG`]. An index is at most 127.
const BEFORE: [u8; 256] = {
    let mut places = [0; 256];
    let mut index = 1;
    while index < 128 {
        places[index] = ZIGZAG[index - 1];
        index += 1;
    }
    places
};

/// Sets the coefficient before an index.
#[inline(always)]
fn set_before<const ROOM: usize>(block: &mut Coefficients<ROOM>, index: usize, number: i32) {
    block[usize::from(BEFORE[usize::from(index as u8)]) & (ROOM - 1)] = number as i16;
}

/// What [`ac_coefficients`] returns if the data have bits that are not a code word.
pub(super) const NO_CODE_WORD: usize = 64;

/// Decodes the AC coefficients of a block. Returns the index of the last coefficient in zigzag order, 0 if there are none, or
/// [`NO_CODE_WORD`].
// Not an `Option`, which WebAssembly returns in memory.
#[inline(always)]
pub(super) fn ac_coefficients<L: Lanes, const ROOM: usize>(
    bits: &mut BitReader<L>,
    code: &Code,
    block: &mut Coefficients<ROOM>,
) -> usize {
    coefficients_from(1, bits, code, code, block)
}

/// Like [`ac_coefficients`], with the DC difference as the first coefficient.
#[inline(always)]
pub(super) fn coefficients<L: Lanes, const ROOM: usize>(
    bits: &mut BitReader<L>,
    dc: &Code,
    ac: &Code,
    block: &mut Coefficients<ROOM>,
) -> usize {
    coefficients_from(0, bits, dc, ac, block)
}

/// `index` is that of the first coefficient: 0 or 1.
#[inline(always)]
fn coefficients_from<L: Lanes, const ROOM: usize>(
    mut index: usize,
    bits: &mut BitReader<L>,
    dc: &Code,
    ac: &Code,
    block: &mut Coefficients<ROOM>,
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
        set_before(block, index, number);
        if index >= 64 {
            return 63;
        }
    }
}

/// Set in the result of [`some_coefficients`] if the index is that of the last coefficient.
const IS_LAST: u64 = 0x80;
/// Set in the result of [`some_coefficients`] if a long code word follows.
const IS_LONG: u64 = 0x100;

/// Decodes coefficients until the end of the block, a long code word, or twenty-one coefficients. Returns the position in the
/// data, the index in the lowest seven bits, and [`IS_LAST`] or [`IS_LONG`].
// For WebAssembly, this function has neither calls nor loops, which contain a call if the deadline has passed: a variable that
// is used after a call would be on the stack and not in a register.
#[inline(never)]
fn some_coefficients<L: Lanes, const ROOM: usize>(
    bits: &BitReader<L>,
    dc: &Code,
    ac: &Code,
    block: &mut Coefficients<ROOM>,
    mut index: usize,
) -> u64 {
    // At least 49 bits. A DC difference has at most 22, 11 of its code word and 11 of its number, and a coefficient 21.
    let mut upcoming = bits.upcoming();
    if index == 0 {
        let entry = dc.look_up(upcoming.bits);
        if !entry.exists() {
            return (upcoming.position() as u64) << 9 | IS_LONG;
        }
        block[0] = signed_bits(upcoming.bits, entry.bits() - entry.size(), entry.size()) as i16;
        upcoming.skip(entry.bits());
        index = 1;
    }
    // A coefficient whose number is in the table has at most 11 bits, so 56 are enough for four of them. Any other has at most
    // 21, 11 of its code word and 10 of its number, and more bits are read after it if others follow.
    macro_rules! coefficient {
        ($more:expr) => {
            let entry = ac.look_up(upcoming.bits);
            if entry.has_number() {
                upcoming.skip(entry.skipped());
                index += entry.steps() as usize;
                set_before(block, index, entry.number());
            } else {
                if !entry.exists() {
                    return (upcoming.position() as u64) << 9 | IS_LONG | index as u64;
                }
                if entry.run() >= END_OF_BLOCK {
                    upcoming.skip(entry.skipped());
                    return (upcoming.position() as u64) << 9 | IS_LAST | (index - 1) as u64;
                }
                let number = signed_bits(upcoming.bits, entry.bits() - entry.size(), entry.size());
                upcoming.skip(entry.skipped());
                index += entry.steps() as usize;
                set_before(block, index, number);
                if $more {
                    bits.read_more(&mut upcoming);
                }
            }
            if index >= 64 {
                return (upcoming.position() as u64) << 9 | IS_LAST | 63;
            }
        };
    }
    macro_rules! four {
        () => {
            bits.read_more(&mut upcoming);
            coefficient!(true);
            coefficient!(true);
            coefficient!(true);
            coefficient!(false);
        };
    }
    coefficient!(false);
    four!();
    four!();
    four!();
    four!();
    four!();
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
