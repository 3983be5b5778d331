//! A scan of a progressive image brings a band of coefficients, or one bit more for each of them (ITU-T T.81, G.1.2).

use super::bits::{Bits, Restarts, Unsound};
use super::headers::TRANSPOSED;
use super::huffman::{Code, END};
use super::scan::number;
use crate::lanes::Lanes;

/// What the head of a scan says of the coefficients.
pub(super) struct Band {
    /// The first and the last in zigzag order.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Whether the scan adds a bit to what has come of them: `Ah` is not 0.
    pub(super) refines: bool,
    /// The lowest bit that it brings: `Al`.
    pub(super) low: u32,
}

/// The coefficients of a block.
#[derive(Clone)]
pub(super) struct Block {
    /// In columns.
    pub(super) coefficients: [i16; 64],
    /// Which of them beyond the mean are not 0, in zigzag order: a scan that refines asks for a bit for each of those, and
    /// looks at no others.
    others: u64,
}

impl Block {
    pub(super) const EMPTY: Block = Block { coefficients: [0; 64], others: 0 };

    pub(super) fn columns(&self) -> &[[i16; 8]; 8] {
        self.coefficients.as_chunks().0.as_array().expect("eight")
    }

    /// The place of the last coefficient in zigzag order, 0 where there is none but the mean.
    pub(super) fn last(&self) -> usize {
        63 - (self.others | 1).leading_zeros() as usize
    }

    #[inline(always)]
    fn set(&mut self, index: usize, value: i16) {
        self.coefficients[usize::from(TRANSPOSED[index & 63] & 63)] = value;
        self.others |= 1 << index;
    }

    /// Adds a bit to a coefficient that is not 0.
    #[inline(always)]
    fn refine<L: Lanes>(&mut self, bits: &mut Bits<L>, index: usize, bit: i16) {
        let coefficient = &mut self.coefficients[usize::from(TRANSPOSED[index & 63] & 63)];
        // All ones, if the bit is set.
        let set = ((bits.peek() as i64) >> 63) as i16;
        bits.skip(1);
        let sign = *coefficient >> 15;
        *coefficient = coefficient.wrapping_add(((bit ^ sign) - sign) & set);
    }
}

impl Band {
    /// The end of a scan's head; `None` where no sound image has such a band.
    pub(super) fn read([first, last, bits]: [u8; 3]) -> Option<Band> {
        let (high, low) = (bits >> 4, bits & 15);
        let band = Band { first: first.into(), last: last.into(), refines: high > 0, low: low.into() };
        let orderly = first <= last && last < 64 && (first == 0) == (last == 0);
        (orderly && low <= 13 && (high == 0 || high == low + 1)).then_some(band)
    }

    /// Whether it is the mean of a block, and no other coefficient.
    pub(super) fn is_mean(&self) -> bool {
        self.first == 0
    }

    /// Decodes a scan of other coefficients into rows of blocks; gives what stands after it.
    pub(super) fn decode<'b, 'k, L: Lanes>(
        &self,
        mut bits: Bits<'b, L>,
        code: &Code,
        rows: impl Iterator<Item = &'k mut [Block]>,
        mut restarts: Restarts,
    ) -> Result<&'b [u8], Unsound> {
        // The blocks in which nothing more comes: EOBRUN.
        let mut ended = 0;
        for block in rows.flatten() {
            if restarts.is_next() {
                bits.restart()?;
                ended = 0;
            }
            bits.before_block()?;
            ended = match self.refines {
                false if ended > 0 => Some(ended - 1),
                false => self.bring(&mut bits, code, block),
                true => self.refine(&mut bits, code, block, ended),
            }
            .ok_or(Unsound)?;
        }
        bits.end()
    }

    /// The number of blocks in which the band ends, this one not counted.
    #[inline(always)]
    fn ended<L: Lanes>(bits: &mut Bits<L>, size: u32) -> u32 {
        let more = (bits.peek() >> 32 >> 1 >> (31 - size)) as u32;
        bits.skip(size);
        (1 << size) - 1 + more
    }

    /// Brings the coefficients of a block. Gives in how many more the band ends.
    #[inline(never)]
    fn bring<L: Lanes>(&self, bits: &mut Bits<L>, code: &Code, block: &mut Block) -> Option<u32> {
        let mut index = self.first;
        while index <= self.last {
            let look = bits.peek();
            let entry = code.entry(look)?;
            bits.skip(entry.bits());
            if entry.run() >= END {
                return Some(Self::ended(bits, entry.ends()));
            }
            index += entry.run() as usize;
            if index > self.last {
                return None;
            }
            if entry.size() > 0 {
                let value = number(look, entry.bits() - entry.size(), entry.size());
                block.set(index, (value << self.low) as i16);
            }
            index += 1;
        }
        Some(0)
    }

    /// Adds a bit to the coefficients of a block that are not 0, and brings those that only this bit has. `ended` is in how
    /// many blocks no more of the latter come; gives the same for the next block.
    #[inline(never)]
    fn refine<L: Lanes>(&self, bits: &mut Bits<L>, code: &Code, block: &mut Block, ended: u32) -> Option<u32> {
        let bit = 1 << self.low;
        let mut index = self.first;
        let mut left = ended.checked_sub(1);
        while left.is_none() && index <= self.last {
            let look = bits.peek();
            let entry = code.entry(look)?;
            bits.skip(entry.bits());
            if entry.run() >= END {
                left = Some(Self::ended(bits, entry.ends()));
                break;
            }
            // So many zeros stay as they are. The coefficients between them get their bit.
            let mut zeros = entry.run() as usize;
            loop {
                if index > self.last {
                    return None;
                }
                let before = (block.others >> index).trailing_zeros() as usize;
                index += zeros.min(before);
                if index > self.last {
                    return None;
                }
                if zeros < before {
                    break;
                }
                zeros -= before;
                block.refine(bits, index, bit);
                index += 1;
            }
            match entry.size() {
                0 => {}
                1 => block.set(index, if number(look, entry.bits() - 1, 1) > 0 { bit } else { -bit }),
                _ => return None,
            }
            index += 1;
        }
        if let Some(left) = left {
            // All bits from `index` to `last`; where that is 63, the 2 is shifted out.
            let mut rest = block.others >> index << index & (2_u64 << self.last).wrapping_sub(1);
            while rest != 0 {
                block.refine(bits, rest.trailing_zeros() as usize, bit);
                rest &= rest - 1;
            }
            return Some(left);
        }
        Some(0)
    }
}
