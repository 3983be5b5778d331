//! Prefix codes (section 6.2.1).

use super::bits::Bits;
use super::memory::Memory;
use super::{broken, truncated};
use crate::limits::Rejected;

const MAX_LENGTH: usize = 15;
/// Codes of at most this length are found in one step.
const TABLE_LENGTH: usize = 10;
/// In the table instead of the length of a code that is longer.
const LONGER: u16 = 15;
/// The order in which the lengths of the codes for lengths are stored.
const ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A prefix code.
pub(super) struct Code {
    /// By the next bits: 16 times the symbol, plus the length of its code.
    table: Vec<u16>,
    longer: Option<Box<Longer>>,
}

/// The codes that are longer than [`TABLE_LENGTH`].
struct Longer {
    /// For each length, the number that follows its last code, and the index of the symbol that would belong to it.
    ends: [(u32, usize); MAX_LENGTH + 1],
    symbols: Vec<u16>,
}

impl Code {
    /// Reads the code of an alphabet.
    ///
    /// # Errors
    /// If it is not complete, has symbols that are not of the alphabet, ends early, or needs more memory.
    pub(super) fn read(bits: &mut Bits<'_>, alphabet: usize, memory: &mut Memory) -> Result<Code, Rejected> {
        let mut lengths = vec![0; alphabet];
        if bits.flag() {
            // One symbol or two. They have codes in the order of their values, whatever the order in the file; the
            // same symbol twice is one symbol, which needs no bits.
            let two = bits.flag();
            let first = if bits.flag() { 8 } else { 1 };
            for width in [first, 8].into_iter().take(if two { 2 } else { 1 }) {
                let symbol = bits.number(width) as usize;
                *lengths.get_mut(symbol).ok_or_else(|| broken("a prefix code has an unknown symbol"))? = 1;
            }
        } else {
            read_lengths(bits, &mut lengths)?;
        }
        if bits.ended() {
            return Err(truncated());
        }
        let code = Code::new(&lengths).ok_or_else(|| broken("a prefix code is not complete"))?;
        memory.take::<Code>(1)?;
        memory.take::<u16>(code.table.len())?;
        if let Some(longer) = &code.longer {
            memory.take::<Longer>(1)?;
            memory.take::<u16>(longer.symbols.len())?;
        }
        Ok(code)
    }

    /// The canonical code of symbols that have these lengths; 0 is a symbol without a code. None if it is not complete.
    fn new(lengths: &[u8]) -> Option<Code> {
        let mut counts = [0_u32; MAX_LENGTH + 1];
        for &length in lengths {
            counts[usize::from(length)] += 1;
        }
        counts[0] = 0;
        if counts.iter().sum::<u32>() == 1 {
            let symbol = lengths.iter().position(|&length| length > 0)?;
            return Some(Code { table: vec![(symbol as u16) << 4], longer: None });
        }
        let longest = counts.iter().rposition(|&count| count > 0)?;
        let (mut next, mut code) = ([0; MAX_LENGTH + 1], 0);
        for length in 1..=longest {
            code = (code + counts[length - 1]) << 1;
            next[length] = code;
        }
        if code + counts[longest] != 1 << longest
            || (1..=longest).any(|length| next[length] + counts[length] > 1 << length)
        {
            return None;
        }

        let mut longer = (longest > TABLE_LENGTH).then(|| Box::new(Longer::new(&next, &counts)));
        let mut table = vec![LONGER; 1 << longest.min(TABLE_LENGTH)];
        for (symbol, &length) in (0_u16..).zip(lengths).filter(|(_, length)| **length > 0) {
            let code = next[usize::from(length)];
            next[usize::from(length)] += 1;
            if usize::from(length) <= TABLE_LENGTH {
                // The first bit of a code is the highest one, but the lowest one of the window.
                let first = (code as u16).reverse_bits() >> (16 - length);
                let entry = symbol << 4 | u16::from(length);
                table[usize::from(first)..].iter_mut().step_by(1 << length).for_each(|place| *place = entry);
            } else if let Some(longer) = &mut longer {
                longer.set(length, code, symbol);
            }
        }
        Some(Code { table, longer })
    }

    /// The symbol that needs no bits, if the code has only one.
    pub(super) fn only(&self) -> Option<u32> {
        if let [entry] = self.table[..] { Some(u32::from(entry >> 4)) } else { None }
    }

    /// Reads a symbol. The window must hold 15 bits.
    #[inline]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> u32 {
        // The length is a power of two.
        let entry = self.table[bits.window() as usize & (self.table.len() - 1)];
        match entry & 15 {
            LONGER => self.longer.as_ref().map_or(0, |longer| longer.symbol(bits)),
            length => {
                bits.consume(u32::from(length));
                u32::from(entry >> 4)
            }
        }
    }
}

impl Longer {
    fn new(first: &[u32; MAX_LENGTH + 1], counts: &[u32; MAX_LENGTH + 1]) -> Self {
        let (mut ends, mut symbols) = ([(0, 0); MAX_LENGTH + 1], 0);
        for length in TABLE_LENGTH + 1..=MAX_LENGTH {
            symbols += counts[length] as usize;
            ends[length] = (first[length] + counts[length], symbols);
        }
        Longer { ends, symbols: vec![0; symbols] }
    }

    fn set(&mut self, length: u8, code: u32, symbol: u16) {
        let (end, index) = self.ends[usize::from(length)];
        self.symbols[index - (end - code) as usize] = symbol;
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> u32 {
        let next = u32::from((bits.window() as u16).reverse_bits());
        for length in TABLE_LENGTH + 1..=MAX_LENGTH {
            let (code, (end, index)) = (next >> (16 - length), self.ends[length]);
            // No shorter code fits, so this one is not less than the first of its length.
            if code < end {
                bits.consume(length as u32);
                return u32::from(self.symbols[index - (end - code) as usize]);
            }
        }
        0
    }
}

/// Reads the lengths of codes, which are themselves stored in a prefix code.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), Rejected> {
    let mut of_lengths = [0; ORDER.len()];
    let stored = bits.number(4) as usize + 4;
    for &index in ORDER.iter().take(stored) {
        of_lengths[index] = bits.number(3) as u8;
    }
    let code = Code::new(&of_lengths).ok_or_else(|| broken("a prefix code is not complete"))?;
    let mut symbols = lengths.len();
    if bits.flag() {
        let width = 2 + 2 * bits.number(3);
        symbols = 2 + bits.number(width) as usize;
        if symbols > lengths.len() {
            return Err(broken("a prefix code has too many symbols"));
        }
    }
    let (mut at, mut last) = (0, 8);
    for _ in 0..symbols {
        if at == lengths.len() {
            break;
        }
        bits.hold(15);
        let (value, times) = match code.symbol(bits) {
            length @ ..16 => (length as u8, 1),
            16 => (last, 3 + bits.number(2)),
            17 => (0, 3 + bits.number(3)),
            _ => (0, 11 + bits.number(7)),
        };
        let run = lengths[at..].get_mut(..times as usize);
        run.ok_or_else(|| broken("a prefix code has too many symbols"))?.fill(value);
        at += times as usize;
        if value > 0 {
            last = value;
        }
    }
    Ok(())
}
