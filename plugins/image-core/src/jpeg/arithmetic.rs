//! Arithmetic coding (ITU-T T.81, annex D): the decoder of binary decisions, and the coefficients coded with it (F.2.4 and
//! G.1.3).

use super::band::{Band, Block};
use super::fault::Fault;
use super::probabilities::{STATES, State};

/// The conditioning of the tables, as declared in a DAC segment (B.2.4.3).
#[derive(Clone, Copy)]
pub(super) struct Conditioning {
    /// The bounds `L` and `U` of small DC differences, for each table.
    pub(super) dc: [(u8, u8); 4],
    /// The bound `Kx` of low AC coefficients, for each table.
    pub(super) ac: [u8; 4],
}

impl Default for Conditioning {
    fn default() -> Self {
        Conditioning { dc: [(0, 1); 4], ac: [5; 4] }
    }
}

/// The probability estimate of a decision: the index of its state, and the more probable symbol in the highest bit.
type Estimate = u8;

/// The estimates of all decisions.
pub(super) struct Statistics {
    dc: [[Estimate; 64]; 4],
    ac: [[Estimate; 256]; 4],
}

impl Statistics {
    pub(super) const NEW: Statistics = Statistics { dc: [[0; 64]; 4], ac: [[0; 256]; 4] };
}

/// The predictor of the DC coefficients of a component, and the context given by the last difference.
#[derive(Clone, Copy, Default)]
pub(super) struct Predictor {
    pub(super) value: i16,
    context: usize,
}

/// Decodes binary decisions.
pub(super) struct Decisions<'a> {
    rest: &'a [u8],
    /// The code register: 16 bits, and up to 16 bits that follow.
    code: u32,
    interval: u32,
    /// The bits that are left in the lower half of the code register.
    left: u32,
    truncated: bool,
}

impl<'a> Decisions<'a> {
    /// Begins to decode coded data (D.2.7).
    pub(super) fn new(data: &'a [u8]) -> Self {
        let mut decisions = Decisions { rest: data, code: 0, interval: 0x1_0000, left: 0, truncated: false };
        for _ in 0..2 {
            decisions.code |= decisions.next_byte() << 8;
            decisions.code <<= 8;
        }
        decisions
    }

    /// The data that was not read yet. It begins with a marker, or is empty at the end of the file.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if the body ended before the data.
    pub(super) fn check_end(&self) -> Result<(), Fault> {
        if self.truncated { Err(Fault::Truncated) } else { Ok(()) }
    }

    /// At a marker, zeros are supplied: encoders omit zeros at the end of the data.
    fn next_byte(&mut self) -> u32 {
        while let [0xFF, 0xFF, ..] = self.rest {
            self.rest = &self.rest[1..];
        }
        let (byte, rest) = match self.rest {
            [0xFF, 0x00, rest @ ..] => (0xFF, rest),
            [0xFF, _, ..] => return 0,
            [] | [0xFF] => {
                self.truncated = true;
                return 0;
            }
            [byte, rest @ ..] => (*byte, rest),
        };
        self.rest = rest;
        u32::from(byte)
    }

    /// Decodes a decision (D.2.4 to D.2.6).
    fn next(&mut self, estimate: &mut Estimate) -> bool {
        let State(less, after_less, after_more, switches) = &STATES[usize::from(*estimate & 0x7F)];
        let likely = *estimate >> 7;
        let less = u32::from(*less);
        self.interval -= less;
        let (symbol, is_likely) = if self.code >> 16 < self.interval {
            if self.interval >= 0x8000 {
                return likely == 1;
            }
            let is_likely = self.interval >= less;
            (if is_likely { likely } else { 1 - likely }, is_likely)
        } else {
            let is_likely = self.interval < less;
            self.code -= self.interval << 16;
            self.interval = less;
            (if is_likely { likely } else { 1 - likely }, is_likely)
        };
        *estimate = match is_likely {
            true => after_more | likely << 7,
            false => after_less | (likely ^ u8::from(*switches)) << 7,
        };
        while self.interval < 0x8000 {
            if self.left == 0 {
                self.code |= self.next_byte() << 8;
                self.left = 8;
            }
            self.interval <<= 1;
            self.code <<= 1;
            self.left -= 1;
        }
        symbol == 1
    }

    /// Decodes a decision whose symbols are equally probable.
    pub(super) fn bit(&mut self) -> bool {
        // State 0 has a probability of a half.
        self.next(&mut 0)
    }

    /// Decodes a DC difference and adds it to the predictor (F.1.4.4.1). `None` if it is too large.
    pub(super) fn dc(
        &mut self,
        statistics: &mut Statistics,
        table: usize,
        (low, high): (u8, u8),
        predictor: &mut Predictor,
    ) -> Option<()> {
        let bins = &mut statistics.dc[table];
        if !self.next(&mut bins[predictor.context]) {
            predictor.context = 0;
            return Some(());
        }
        let negative = self.next(&mut bins[predictor.context + 1]);
        let mut bin = predictor.context + 2 + usize::from(negative);
        let mut magnitude = i32::from(self.next(&mut bins[bin]));
        if magnitude > 0 {
            bin = 20;
            magnitude = self.magnitude(bins, &mut bin, magnitude)?;
        }
        let sign = 4 * usize::from(negative);
        predictor.context = if magnitude < (1 << low) >> 1 {
            0
        } else if magnitude > (1 << high) >> 1 {
            12 + sign
        } else {
            4 + sign
        };
        let value = self.value(bins, bin, magnitude, negative);
        predictor.value = predictor.value.wrapping_add(value as i16);
        Some(())
    }

    /// Decodes the AC coefficients of a band of a block in its first scan (F.1.4.4.2). `None` if they exceed the band.
    pub(super) fn ac(
        &mut self,
        statistics: &mut Statistics,
        table: usize,
        low_bound: u8,
        band: &Band,
        block: &mut Block,
    ) -> Option<()> {
        let bins = &mut statistics.ac[table];
        let mut index = band.first.max(1);
        while index <= band.last && !self.next(&mut bins[3 * (index - 1)]) {
            while !self.next(&mut bins[3 * (index - 1) + 1]) {
                index += 1;
                if index > band.last {
                    return None;
                }
            }
            let negative = self.bit();
            let mut bin = 3 * (index - 1) + 2;
            let mut magnitude = i32::from(self.next(&mut bins[bin]));
            if magnitude > 0 && self.next(&mut bins[bin]) {
                bin = if index <= usize::from(low_bound) { 189 } else { 217 };
                magnitude = self.magnitude(bins, &mut bin, 2)?;
            }
            let value = self.value(bins, bin, magnitude, negative);
            block.set(index, (value << band.low) as i16);
            index += 1;
        }
        Some(())
    }

    /// Adds one bit to the coefficients of a band of a block (G.1.3.3). `None` if they exceed the band.
    pub(super) fn refine(
        &mut self,
        statistics: &mut Statistics,
        table: usize,
        band: &Band,
        block: &mut Block,
    ) -> Option<()> {
        let bins = &mut statistics.ac[table];
        let bit = 1 << band.low;
        let last_nonzero = block.last_before(band.last);
        let mut index = band.first;
        while index <= band.last {
            if index > last_nonzero && self.next(&mut bins[3 * (index - 1)]) {
                break;
            }
            loop {
                if block.is_nonzero(index) {
                    if self.next(&mut bins[3 * (index - 1) + 2]) {
                        block.grow(index, bit);
                    }
                    break;
                }
                if self.next(&mut bins[3 * (index - 1) + 1]) {
                    let negative = self.bit();
                    block.set(index, if negative { -bit } else { bit });
                    break;
                }
                index += 1;
                if index > band.last {
                    return None;
                }
            }
            index += 1;
        }
        Some(())
    }

    /// Doubles the magnitude for each positive decision (figure F.23).
    fn magnitude(&mut self, bins: &mut [Estimate], bin: &mut usize, mut magnitude: i32) -> Option<i32> {
        while self.next(&mut bins[*bin]) {
            magnitude <<= 1;
            if magnitude == 0x8000 {
                return None;
            }
            *bin += 1;
        }
        Some(magnitude)
    }

    /// Decodes the bits after the first of a number (figure F.24).
    fn value(&mut self, bins: &mut [Estimate], bin: usize, magnitude: i32, negative: bool) -> i32 {
        let (mut value, mut bit) = (magnitude, magnitude >> 1);
        while bit > 0 {
            if self.next(&mut bins[bin + 14]) {
                value |= bit;
            }
            bit >>= 1;
        }
        if negative { -(value + 1) } else { value + 1 }
    }
}
