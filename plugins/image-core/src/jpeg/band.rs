//! One scan of a progressive image: it has a band of coefficients, or one more bit of each coefficient (ITU-T T.81,
//! G.1.2).

use super::bits::{BitReader, Restarts};
use super::fault::Fault;
use super::huffman::{Code, END_OF_BLOCK, signed_bits};
use super::tables::ZIGZAG;
use crate::lanes::Lanes;

/// The band of coefficients that a scan has, as declared in its header.
pub(super) struct Band {
    /// The first and the last coefficient in zigzag order.
    pub(super) first: usize,
    pub(super) last: usize,
    /// True if the scan adds one bit to coefficients of earlier scans: `Ah` is not 0.
    pub(super) refines: bool,
    /// The lowest bit that the scan has: `Al`.
    pub(super) low: u32,
}

/// The coefficients of a block.
#[derive(Clone)]
pub(super) struct Block {
    /// Row by row.
    pub(super) coefficients: [i16; 64],
    /// A bit mask of the AC coefficients that are not 0, in zigzag order. A refining scan has one bit for each of these
    /// coefficients and does not read the others.
    nonzero_ac: u64,
}

impl Block {
    pub(super) const EMPTY: Block = Block { coefficients: [0; 64], nonzero_ac: 0 };

    pub(super) fn rows(&self) -> &[[i16; 8]; 8] {
        self.coefficients.as_chunks().0.as_array().expect("64 coefficients are eight rows of eight")
    }

    /// The index of the last non-zero coefficient in zigzag order; 0 if there are no AC coefficients.
    pub(super) fn last(&self) -> usize {
        63 - (self.nonzero_ac | 1).leading_zeros() as usize
    }

    /// Sets the index of the last non-zero coefficient.
    pub(super) fn set_last(&mut self, last: usize) {
        self.nonzero_ac = 1 << last;
    }

    /// The index of the last non-zero AC coefficient up to `last`; 0 if there is none.
    pub(super) fn last_before(&self, last: usize) -> usize {
        let until = self.nonzero_ac & (2_u64 << last).wrapping_sub(1);
        63 - (until | 1).leading_zeros() as usize
    }

    pub(super) fn is_nonzero(&self, index: usize) -> bool {
        self.nonzero_ac >> index & 1 == 1
    }

    /// Moves a coefficient away from 0.
    pub(super) fn grow(&mut self, index: usize, by: i16) {
        let coefficient = &mut self.coefficients[usize::from(ZIGZAG[index])];
        *coefficient = coefficient.wrapping_add(if *coefficient < 0 { -by } else { by });
    }

    #[inline(always)]
    pub(super) fn set(&mut self, index: usize, value: i16) {
        self.coefficients[usize::from(ZIGZAG[index & 63] & 63)] = value;
        self.nonzero_ac |= 1 << index;
    }

    /// Adds one bit, the first one of `bits`, to a coefficient that is not 0.
    #[inline(always)]
    fn refine(&mut self, bits: u64, index: usize, bit: i16) {
        let coefficient = &mut self.coefficients[usize::from(ZIGZAG[index & 63] & 63)];
        // All ones if the bit is set, otherwise 0.
        let set = ((bits as i64) >> 63) as i16;
        let sign = *coefficient >> 15;
        *coefficient = coefficient.wrapping_add(((bit ^ sign) - sign) & set);
    }
}

/// Bits that were read ahead, so that not every single bit is loaded from the data.
struct Ahead {
    /// The first bit is the most significant.
    bits: u64,
    /// The bits that were consumed since [`BitReader::peek`].
    count: u32,
}

impl Ahead {
    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.count += count;
    }

    /// The bits before the next one is consumed.
    #[inline(always)]
    fn next<L: Lanes>(&mut self, reader: &mut BitReader<L>) -> u64 {
        if self.count > 56 {
            reader.skip(self.count);
            *self = Ahead { bits: reader.peek(), count: 0 };
        }
        let bits = self.bits;
        self.skip(1);
        bits
    }
}

impl Band {
    /// All bits of all coefficients: the band of a scan of a sequential image.
    pub(super) const WHOLE: Band = Band { first: 0, last: 63, refines: false, low: 0 };

    /// Parses the last three bytes of a scan's header. Returns `None` if the band is not valid.
    pub(super) fn read([first, last, bits]: [u8; 3]) -> Option<Band> {
        let (high, low) = (bits >> 4, bits & 15);
        let band = Band { first: first.into(), last: last.into(), refines: high > 0, low: low.into() };
        let valid = first <= last && last < 64 && (first == 0) == (last == 0);
        (valid && low <= 13 && (high == 0 || high == low + 1)).then_some(band)
    }

    /// Decodes a scan of AC coefficients into rows of blocks. Returns the data after the scan.
    pub(super) fn decode<'b, 'k, L: Lanes>(
        &self,
        mut bits: BitReader<'b, L>,
        code: &Code,
        rows: impl Iterator<Item = &'k mut [Block]>,
        mut restarts: Restarts,
    ) -> Result<&'b [u8], Fault> {
        // The number of further blocks without new coefficients in this band: EOBRUN.
        let mut eob_run = 0;
        for block in rows.flatten() {
            if restarts.is_due() {
                bits.restart()?;
                eob_run = 0;
            }
            if bits.is_starved() {
                continue;
            }
            bits.ensure_block()?;
            eob_run = match self.refines {
                false if eob_run > 0 => Some(eob_run - 1),
                false => self.decode_first(&mut bits, code, block),
                true => self.refine(&mut bits, code, block, eob_run),
            }
            .ok_or(Fault::CodeWord)?;
            bits.end_mcu()?;
        }
        Ok(bits.finish())
    }

    /// Reads the number of further blocks in which the band has ended, excluding the current one. `size` is its number
    /// of bits.
    #[inline(always)]
    fn read_eob_run<L: Lanes>(bits: &mut BitReader<L>, size: u32) -> u32 {
        let more = (bits.peek() >> 32 >> 1 >> (31 - size)) as u32;
        bits.skip(size);
        (1 << size) - 1 + more
    }

    /// Decodes the band of a block in its first scan. Returns the number of further blocks in which the band has ended.
    #[inline(never)]
    fn decode_first<L: Lanes>(&self, bits: &mut BitReader<L>, code: &Code, block: &mut Block) -> Option<u32> {
        let mut index = self.first;
        while index <= self.last {
            let look = bits.peek();
            let entry = code.entry(look)?;
            bits.skip(entry.bits());
            if entry.run() >= END_OF_BLOCK {
                return Some(Self::read_eob_run(bits, entry.eob_run_bits()));
            }
            index += entry.run() as usize;
            if index > self.last && !code.tolerant {
                return None;
            }
            if entry.size() > 0 {
                let value = signed_bits(look, entry.bits() - entry.size(), entry.size());
                block.set(index.min(63), (value << self.low) as i16);
            }
            index += 1;
        }
        Some(0)
    }

    /// Adds one bit to the coefficients of a block that are not 0, and sets the coefficients whose first bit is in this
    /// scan. `eob_run` is the number of blocks, including this one, that have none of the latter. Returns this number
    /// for the next block.
    #[inline(never)]
    fn refine<L: Lanes>(&self, bits: &mut BitReader<L>, code: &Code, block: &mut Block, eob_run: u32) -> Option<u32> {
        let bit = 1 << self.low;
        let mut index = self.first;
        let mut left = eob_run.checked_sub(1);
        while left.is_none() && index <= self.last {
            let look = bits.peek();
            let entry = code.entry(look)?;
            // Most often there are only zeros before the new coefficient, which is 1 or -1.
            let place = index + entry.run() as usize;
            let before = (block.nonzero_ac >> (index & 63)).trailing_zeros();
            if entry.has_number() && entry.size() == 1 && entry.run() < before && place <= self.last {
                bits.skip(entry.bits());
                block.set(place, (entry.number() << self.low) as i16);
                index = place + 1;
                continue;
            }
            if entry.size() > 1 && !code.tolerant {
                return None;
            }
            // A new coefficient has one bit, even if broken data declare more.
            let length = entry.bits() - entry.size();
            let mut ahead = Ahead { bits: look, count: 0 };
            ahead.skip(length + entry.size().min(1));
            if entry.run() >= END_OF_BLOCK {
                bits.skip(ahead.count);
                left = Some(Self::read_eob_run(bits, entry.eob_run_bits()));
                break;
            }
            // Skip this number of zero coefficients. The non-zero coefficients between them get their bit.
            let mut zeros = entry.run() as usize;
            loop {
                if index > self.last {
                    break;
                }
                let before = (block.nonzero_ac >> index).trailing_zeros() as usize;
                index += zeros.min(before);
                if index > self.last || zeros < before {
                    break;
                }
                zeros -= before;
                block.refine(ahead.next(bits), index, bit);
                index += 1;
            }
            bits.skip(ahead.count);
            if index > self.last && !code.tolerant {
                return None;
            }
            if entry.size() > 0 {
                // In broken data the band may be exceeded. libjpeg then sets the next coefficient.
                let index = index.min(self.last + 1).min(63);
                block.set(index, if signed_bits(look, length, 1) > 0 { bit } else { -bit });
            }
            index += 1;
        }
        if let Some(left) = left {
            // All bits from `index` to `last`. If `last` is 63, the 2 is shifted out and the mask has all bits.
            let mut rest = block.nonzero_ac >> index << index & (2_u64 << self.last).wrapping_sub(1);
            let mut ahead = Ahead { bits: bits.peek(), count: 0 };
            while rest != 0 {
                block.refine(ahead.next(bits), rest.trailing_zeros() as usize, bit);
                rest &= rest - 1;
            }
            bits.skip(ahead.count);
            return Some(left);
        }
        Some(0)
    }
}
