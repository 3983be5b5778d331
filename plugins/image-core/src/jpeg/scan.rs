//! Decodes the only scan of a sequential image, MCU by MCU.

use super::bits::{BitReader, InvalidData, Restarts};
use super::headers::{Headers, TRANSPOSED};
use super::huffman::{Code, END_OF_BLOCK, SKIP_BITS, Skip};
use super::plane::{Plane, flush_strips, planes};
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::Output;

/// The coefficients of a block, column by column, followed by space for coefficients beyond the block (in broken
/// images).
type Block = [i16; 128];

/// A component and its codes.
struct Coded<'h, L> {
    plane: Plane<L>,
    dc: &'h Code,
    ac: &'h Code,
    /// Present if only the DC coefficient of each block is needed.
    skips: Option<Box<[Skip; 1 << SKIP_BITS]>>,
    /// The sum of the DC differences since the last restart.
    predictor: i16,
}

/// Decodes the scan into the output.
///
/// # Errors
/// If the data are broken or end too early. The content of the output is then unusable.
pub(super) fn decode<L: Lanes>(
    body: &[u8],
    headers: &Headers,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), InvalidData> {
    let (planes, colour) = planes::<L>(headers, settings, output).ok_or(InvalidData)?;
    let mut coded = Vec::with_capacity(3);
    for (component, plane) in headers.components.iter().zip(planes) {
        let code = |place: usize| headers.codes[place].as_ref().ok_or(InvalidData);
        let (dc, ac) = (code(component.dc)?, code(4 + component.ac)?);
        let skips = (plane.block_size < 2).then(|| ac.skip_table());
        coded.push(Coded { plane, dc, ac, skips, predictor: 0 });
    }

    let mut bits = BitReader::<L>::new(&body[headers.data..])?;
    let mut block: Block = [0; 128];
    let mut restarts = Restarts::new(headers.restart);
    for _ in 0..headers.height.div_ceil(8 * headers.tallest) {
        for mcu in 0..headers.width.div_ceil(8 * headers.widest) {
            if restarts.is_due() {
                bits.restart()?;
                coded.iter_mut().for_each(|coded| coded.predictor = 0);
            }
            for coded in &mut coded {
                match (&coded.skips, coded.plane.block_size) {
                    (Some(_), _) => coded.decode::<1>(&mut bits, &mut block, mcu)?,
                    (None, 2) => coded.decode::<2>(&mut bits, &mut block, mcu)?,
                    (None, _) => coded.decode::<8>(&mut bits, &mut block, mcu)?,
                }
            }
        }
        bits.check_end()?;
        flush_strips(coded.iter_mut().map(|coded| &mut coded.plane), colour, output);
    }
    Ok(())
}

impl<L: Lanes> Coded<'_, L> {
    /// Decodes the blocks of one MCU. `SIZE` is the `block_size` of the plane, or 1 if the AC coefficients are skipped.
    // Not inlined, so that registers are allocated separately for each size, and each size has its own kernel.
    #[inline(never)]
    fn decode<const SIZE: usize>(
        &mut self,
        bits: &mut BitReader<L>,
        block: &mut Block,
        mcu: usize,
    ) -> Result<(), InvalidData> {
        for down in 0..self.plane.down {
            for across in 0..self.plane.across {
                bits.ensure_block()?;
                self.predictor = self.predictor.wrapping_add(dc_difference(bits, self.dc).ok_or(InvalidData)?);
                let at = (down * self.plane.stride + mcu * self.plane.across + across) * self.plane.block_size;
                if SIZE == 1 {
                    let skips = self.skips.as_ref().expect("present for blocks of one sample");
                    skip_ac(bits, self.ac, skips).ok_or(InvalidData)?;
                    let dc_sample = self.plane.dc_sample(self.predictor);
                    if let Some(sample) = self.plane.strip.get_mut(at) {
                        *sample = dc_sample;
                    }
                    continue;
                }
                block[0] = self.predictor;
                let last = ac_coefficients(bits, self.ac, block).ok_or(InvalidData)?;
                let columns: &mut [[i16; 8]; 8] =
                    block.as_chunks_mut().0.first_chunk_mut().expect("the block has 128 places");
                self.plane.block::<SIZE>(columns, last, at);
                match last {
                    ..10 => columns[..4].fill([0; 8]),
                    _ => *columns = [[0; 8]; 8],
                }
            }
        }
        Ok(())
    }
}

/// The signed number in the `size` bits after the first `offset` bits. Numbers whose first bit is 0 are negative.
#[inline(always)]
pub(super) fn signed_bits(bits: u64, offset: u32, size: u32) -> i32 {
    let top = bits << offset;
    let value = ((top >> 1) >> (63 - size)) as i32;
    let negative = !((top as i64) >> 63) as i32;
    value + (negative & (1 - (1 << size)))
}

/// Decodes a DC difference.
#[inline(always)]
pub(super) fn dc_difference<L: Lanes>(bits: &mut BitReader<L>, code: &Code) -> Option<i16> {
    let look = bits.peek();
    let entry = code.entry(look)?;
    bits.skip(entry.bits());
    Some(signed_bits(look, entry.bits() - entry.size(), entry.size()) as i16)
}

/// Decodes the AC coefficients of a block. Returns the index of the last coefficient in zigzag order; 0 if there are
/// none.
#[inline(always)]
fn ac_coefficients<L: Lanes>(bits: &mut BitReader<L>, code: &Code, block: &mut Block) -> Option<usize> {
    let (mut index, mut last) = (1, 0);
    loop {
        // Two coefficients per `peek` and two `peek`s per iteration, because compiled WebAssembly checks its deadline
        // in every iteration.
        for _ in 0..2 {
            let mut look = bits.peek();
            for _ in 0..2 {
                let entry = code.entry(look)?;
                bits.skip(entry.bits());
                index += entry.run() as usize;
                if entry.run() >= END_OF_BLOCK {
                    return Some(last);
                }
                let place = usize::from(TRANSPOSED[index & 127]) & 127;
                block[place] = signed_bits(look, entry.bits() - entry.size(), entry.size()) as i16;
                last = index.min(63);
                index += 1;
                if index >= 64 {
                    return Some(last);
                }
                look <<= entry.bits();
            }
        }
    }
}

/// Skips the AC coefficients of a block.
#[inline(always)]
fn skip_ac<L: Lanes>(bits: &mut BitReader<L>, code: &Code, skips: &[Skip; 1 << SKIP_BITS]) -> Option<()> {
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
                (entry.bits(), entry.run() + 1)
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
