//! The one scan of a sequential image, MCU by MCU.

use super::bits::{Bits, Restarts, Unsound};
use super::headers::{Headers, TRANSPOSED};
use super::huffman::{Code, END, Leap, SKIP};
use super::plane::{Plane, planes, put};
use crate::Settings;
use crate::lanes::Lanes;
use crate::output::Output;

/// The coefficients of a block in columns, and a place for those that lie beyond it.
type Block = [i16; 128];

/// A component and its codes.
struct Coded<'h, L> {
    plane: Plane<L>,
    dc: &'h Code,
    ac: &'h Code,
    /// Where no more of a block than its mean is of use.
    leaps: Option<Box<[Leap; 1 << SKIP]>>,
    /// The sum of the DC differences.
    mean: i16,
}

/// Decodes the scan into the output.
///
/// # Errors
/// Where the data are broken or end too soon; what the output then holds is of no use.
pub(super) fn decode<L: Lanes>(
    body: &[u8],
    headers: &Headers,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Unsound> {
    let (planes, colour) = planes::<L>(headers, settings, output).ok_or(Unsound)?;
    let mut coded = Vec::with_capacity(3);
    for (component, plane) in headers.components.iter().zip(planes) {
        let code = |place: usize| headers.codes[place].as_ref().ok_or(Unsound);
        let (dc, ac) = (code(component.dc)?, code(4 + component.ac)?);
        let leaps = (plane.size < 2).then(|| ac.leaps());
        coded.push(Coded { plane, dc, ac, leaps, mean: 0 });
    }

    let mut bits = Bits::<L>::new(&body[headers.data..])?;
    let mut block: Block = [0; 128];
    let mut restarts = Restarts::new(headers.restart);
    for _ in 0..headers.height.div_ceil(8 * headers.tallest) {
        for mcu in 0..headers.width.div_ceil(8 * headers.widest) {
            if restarts.is_next() {
                bits.restart()?;
                coded.iter_mut().for_each(|coded| coded.mean = 0);
            }
            for coded in &mut coded {
                match (&coded.leaps, coded.plane.size) {
                    (Some(_), _) => coded.decode::<1>(&mut bits, &mut block, mcu)?,
                    (None, 2) => coded.decode::<2>(&mut bits, &mut block, mcu)?,
                    (None, _) => coded.decode::<8>(&mut bits, &mut block, mcu)?,
                }
            }
        }
        bits.check()?;
        put(coded.iter_mut().map(|coded| &mut coded.plane), colour, output);
    }
    Ok(())
}

impl<L: Lanes> Coded<'_, L> {
    /// Decodes the blocks of one MCU. `SIZE` is the plane's, or 1 where the AC coefficients are passed over.
    // Not inlined: a function of its own has registers of its own, and one kernel for each size.
    #[inline(never)]
    fn decode<const SIZE: usize>(&mut self, bits: &mut Bits<L>, block: &mut Block, mcu: usize) -> Result<(), Unsound> {
        for down in 0..self.plane.down {
            for across in 0..self.plane.across {
                bits.before_block()?;
                self.mean = self.mean.wrapping_add(difference(bits, self.dc).ok_or(Unsound)?);
                let at = (down * self.plane.stride + mcu * self.plane.across + across) * self.plane.size;
                if SIZE == 1 {
                    let leaps = self.leaps.as_ref().expect("made for blocks of one sample");
                    leap(bits, self.ac, leaps).ok_or(Unsound)?;
                    let mean = self.plane.mean(self.mean);
                    if let Some(sample) = self.plane.strip.get_mut(at) {
                        *sample = mean;
                    }
                    continue;
                }
                block[0] = self.mean;
                let last = coefficients(bits, self.ac, block).ok_or(Unsound)?;
                let columns: &mut [[i16; 8]; 8] = block.as_chunks_mut().0.first_chunk_mut().expect("twice as many");
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

/// The number of `size` bits that stand after `before` bits: those with a 0 on top are negative.
#[inline(always)]
pub(super) fn number(bits: u64, before: u32, size: u32) -> i32 {
    let top = bits << before;
    let value = ((top >> 1) >> (63 - size)) as i32;
    let negative = !((top as i64) >> 63) as i32;
    value + (negative & (1 - (1 << size)))
}

/// A DC difference.
#[inline(always)]
pub(super) fn difference<L: Lanes>(bits: &mut Bits<L>, code: &Code) -> Option<i16> {
    let look = bits.peek();
    let entry = code.entry(look)?;
    bits.skip(entry.bits());
    Some(number(look, entry.bits() - entry.size(), entry.size()) as i16)
}

/// The AC coefficients of a block; gives the place of the last in zigzag order, 0 where there are none.
#[inline(always)]
fn coefficients<L: Lanes>(bits: &mut Bits<L>, code: &Code, block: &mut Block) -> Option<usize> {
    let (mut index, mut last) = (1, 0);
    loop {
        // Two to a look at the bits, and two looks to a turn: WebAssembly checks for its deadline at every turn.
        for _ in 0..2 {
            let mut look = bits.peek();
            for _ in 0..2 {
                let entry = code.entry(look)?;
                bits.skip(entry.bits());
                index += entry.run() as usize;
                if entry.run() >= END {
                    return Some(last);
                }
                let place = usize::from(TRANSPOSED[index & 127]) & 127;
                block[place] = number(look, entry.bits() - entry.size(), entry.size()) as i16;
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

/// Passes over the AC coefficients of a block.
#[inline(always)]
fn leap<L: Lanes>(bits: &mut Bits<L>, code: &Code, leaps: &[Leap; 1 << SKIP]) -> Option<()> {
    let mut index = 1;
    loop {
        // Two to a look at the bits, as in `coefficients`: a leap takes at most 23.
        let mut look = bits.peek();
        for _ in 0..2 {
            let leap = leaps[(look >> (64 - SKIP)) as usize];
            let (taken, steps) = if index + leap.steps() <= 63 {
                if leap.ends() {
                    bits.skip(leap.bits());
                    return Some(());
                }
                (leap.bits(), leap.steps())
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
