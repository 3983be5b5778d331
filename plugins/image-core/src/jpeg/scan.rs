//! Decodes the only scan of a sequential image, MCU by MCU.

use super::bits::{BitReader, Restarts};
use super::fault::Fault;
use super::headers::{Headers, Scan};
use super::huffman::{Code, END_OF_BLOCK, SKIP_BITS, Skip, signed_bits};
use super::plane::Plane;
use super::sink::Sink;
use super::tables::ZIGZAG;
use crate::lanes::Lanes;

/// The coefficients of a block, row by row.
pub(super) type Coefficients = [i16; 64];

/// A component and its codes.
struct Coded<'h, L> {
    plane: Plane<L>,
    dc: &'h Code,
    ac: &'h Code,
    /// Present if only the DC coefficient of each block is needed.
    skips: Option<Box<[Skip; 1 << SKIP_BITS]>>,
    /// The sum of the DC differences since the last restart.
    predictor: i16,
    /// Always zeros, to clear blocks with. The compiler does not know this; it would make clearing a constant number of
    /// bytes a call into the host.
    zeros: [i16; 8],
}

/// Decodes the scan, which has all components, into the output. `data` begins with its coded data. Returns the data after
/// it.
///
/// # Errors
/// If the data are broken or end too early. The content of the output is then unusable.
pub(super) fn decode<'b, L: Lanes>(
    data: &'b [u8],
    headers: &Headers,
    scan: &Scan,
    planes: Vec<Plane<L>>,
    mut sink: Sink<L>,
) -> Result<&'b [u8], Fault> {
    let mut coded = Vec::with_capacity(4);
    for (component, mut plane) in scan.components.iter().zip(planes) {
        plane.define_quantiser(headers, component.place)?;
        let (dc, ac) = (headers.dc_code(component.dc)?, headers.ac_code(component.ac)?);
        let skips = (plane.block_size < 2).then(|| ac.skip_table());
        coded.push(Coded { plane, dc, ac, skips, predictor: 0, zeros: [0; 8] });
    }

    loop {
        coded.iter_mut().for_each(|coded| coded.predictor = 0);
        match decode_mcus(data, headers, &mut coded, &mut sink)? {
            Some(rest) => {
                sink.finish(coded.iter_mut().map(|coded| &mut coded.plane));
                return Ok(rest);
            }
            // Begin again.
            None => sink = sink.by_pixel(headers, coded.iter_mut().map(|coded| &mut coded.plane)),
        }
    }
}

/// Decodes all MCUs. Returns the data after the scan, or `None` if the sink must be replaced.
fn decode_mcus<'b, L: Lanes>(
    data: &'b [u8],
    headers: &Headers,
    coded: &mut [Coded<'_, L>],
    sink: &mut Sink<L>,
) -> Result<Option<&'b [u8]>, Fault> {
    let mut bits = BitReader::<L>::new(data, headers.restart > 0)?;
    let mut block: Coefficients = [0; 64];
    let mut restarts = Restarts::new(headers.restart);
    let (columns, rows) = headers.mcus();
    for _ in 0..rows {
        for mcu in 0..columns {
            if restarts.is_due() {
                bits.restart()?;
                coded.iter_mut().for_each(|coded| coded.predictor = 0);
            }
            if bits.is_starved() {
                coded.iter_mut().for_each(|coded| coded.skip(mcu));
                continue;
            }
            for coded in &mut *coded {
                match (&coded.skips, coded.plane.block_size) {
                    (Some(_), _) => coded.decode::<1>(&mut bits, &mut block, mcu)?,
                    (None, 2) => coded.decode::<2>(&mut bits, &mut block, mcu)?,
                    (None, _) => coded.decode::<8>(&mut bits, &mut block, mcu)?,
                }
            }
            bits.end_mcu()?;
        }
        sink.take_strips(coded.iter_mut().map(|coded| &mut coded.plane));
        if sink.is_unsuitable() {
            return Ok(None);
        }
    }
    Ok(Some(bits.finish()))
}

impl<L: Lanes> Coded<'_, L> {
    /// Decodes the blocks of one MCU. `SIZE` is the `block_size` of the plane, or 1 if the AC coefficients are skipped.
    // Not inlined, so that registers are allocated separately for each size, and each size has its own kernel.
    #[inline(never)]
    fn decode<const SIZE: usize>(
        &mut self,
        bits: &mut BitReader<L>,
        block: &mut Coefficients,
        mcu: usize,
    ) -> Result<(), Fault> {
        for down in 0..self.plane.down {
            for across in 0..self.plane.across {
                bits.ensure_block()?;
                let at = (down * self.plane.stride + mcu * self.plane.across + across) * self.plane.block_size;
                if SIZE == 1 {
                    let difference = dc_difference(bits, self.dc).ok_or(Fault::CodeWord)?;
                    self.predictor = self.predictor.wrapping_add(difference);
                    let skips = self.skips.as_ref().expect("present for blocks of one sample");
                    skip_ac(bits, self.ac, skips).ok_or(Fault::CodeWord)?;
                    let dc_sample = self.plane.dc_sample(self.predictor);
                    if let Some(sample) = self.plane.strip.get_mut(at) {
                        *sample = dc_sample;
                    }
                    continue;
                }
                let last = coefficients(bits, self.dc, self.ac, block);
                if last >= NO_CODE_WORD {
                    return Err(Fault::CodeWord);
                }
                self.predictor = self.predictor.wrapping_add(block[0]);
                block[0] = self.predictor;
                let rows: &mut [[i16; 8]; 8] =
                    block.as_chunks_mut().0.as_mut_array().expect("64 coefficients are eight rows of eight");
                self.plane.block::<SIZE>(rows, last, at);
                // The next block overwrites the first coefficient.
                let zeros = L::load_i16(&self.zeros);
                match last {
                    0 => {}
                    ..10 => rows[..4].iter_mut().for_each(|row| zeros.store_i16(row)),
                    _ => rows.iter_mut().for_each(|row| zeros.store_i16(row)),
                }
            }
        }
        Ok(())
    }
}

impl<L: Lanes> Coded<'_, L> {
    /// Fills the blocks of an MCU whose data are missing with gray, as libjpeg does.
    #[cold]
    fn skip(&mut self, mcu: usize) {
        let size = self.plane.block_size;
        let width = self.plane.across * size;
        for row in 0..self.plane.down * size {
            self.plane.strip[row * self.plane.stride + mcu * width..][..width].fill(128);
        }
    }
}

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
fn coefficients<L: Lanes>(bits: &mut BitReader<L>, dc: &Code, ac: &Code, block: &mut Coefficients) -> usize {
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
        bits.set_position((state >> 8) as usize);
        index = (state & 0x7F) as usize;
        if state & IS_LAST != 0 {
            return index;
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

/// Decodes coefficients until the end of the block, a long code word, or fourteen coefficients. Returns the position in the
/// data, the index in the lowest seven bits, and [`IS_LAST`].
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
            return (upcoming.position() as u64) << 8;
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
                    return (upcoming.position() as u64) << 8 | index as u64;
                }
                if entry.run() >= END_OF_BLOCK {
                    upcoming.skip(entry.bits());
                    return (upcoming.position() as u64) << 8 | IS_LAST | (index - 1) as u64;
                }
                signed_bits(upcoming.bits, entry.bits() - entry.size(), entry.size())
            };
            upcoming.skip(entry.bits());
            index += entry.steps() as usize;
            block[usize::from(BEFORE[index & 127]) & 63] = number as i16;
            if index >= 64 {
                return (upcoming.position() as u64) << 8 | IS_LAST | 63;
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
    (upcoming.position() as u64) << 8 | index as u64
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
