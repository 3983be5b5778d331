//! Decodes the only scan of a sequential image, MCU by MCU.

use super::bits::{BitReader, Restarts};
use super::coefficients::{Coefficients, NO_CODE_WORD, coefficients, dc_difference, skip_ac};
use super::fault::Fault;
use super::headers::{Headers, Scan};
use super::huffman::{Code, SKIP_BITS, Skip};
use super::plane::Plane;
use super::sink::Sink;
use crate::lanes::Lanes;

/// As many coefficients as a byte can count, of which a block has 64.
type Block = Coefficients<256>;

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
    let mut block: Block = [0; 256];
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
        block: &mut Block,
        mcu: usize,
    ) -> Result<(), Fault> {
        for down in 0..self.plane.down {
            for across in 0..self.plane.across {
                bits.ensure_block()?;
                let side = if SIZE == 1 { self.plane.block_size } else { SIZE };
                let at = (down * self.plane.stride + mcu * self.plane.across + across) * side;
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
                    block.as_chunks_mut().0.first_chunk_mut().expect("64 coefficients are eight rows of eight");
                self.plane.block::<SIZE>(rows, last, at);
                // The next block overwrites the first coefficient.
                let zeros = L::load_i16(&self.zeros);
                match last {
                    0 => {}
                    1..10 => rows[..4].iter_mut().for_each(|row| zeros.store_i16(row)),
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
