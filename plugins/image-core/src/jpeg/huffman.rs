//! Huffman codes as tables.

/// The code words that one look-up decodes. Between 9 and 12 bits the speed differs by less than 5 %.
pub(super) const LOOK_UP: u32 = 10;
/// The bits that one look-up passes over where the coefficients do not matter.
pub(super) const SKIP: u32 = 13;
/// The run that stands for the end of a block, or of a band: no less leads beyond 63.
pub(super) const END: u32 = 64;

/// What a look-up gives, packed: bits of the code word and of the number after it, bits of that number, the zeros before
/// it, and where a band ends, the bits of the number of blocks it ends in. A whole of 0 is a code word that is longer than
/// the look-up.
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    fn new(length: u32, symbol: u8, ac: bool) -> Entry {
        let (run, size) = if ac { (u32::from(symbol >> 4), u32::from(symbol & 15)) } else { (0, u32::from(symbol)) };
        let run = if ac && size == 0 && run < 15 { END | run << 8 } else { run };
        Entry((length + size) | size << 8 | run << 16)
    }

    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0xFF
    }

    #[inline(always)]
    pub(super) fn size(self) -> u32 {
        self.0 >> 8 & 15
    }

    /// [`END`] or more where the block ends.
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        self.0 >> 16
    }

    /// The bits of the number of blocks in which the band ends, see T.81, G.1.2.2. They stand after [`Entry::bits`].
    #[inline(always)]
    pub(super) fn ends(self) -> u32 {
        self.0 >> 24
    }
}

/// A Huffman code.
pub(super) struct Code {
    table: Box<[Entry; 1 << LOOK_UP]>,
    /// For longer code words, by their length: the greatest, and the distance from a code word to its symbol.
    greatest: [i32; 17],
    distance: [i32; 17],
    symbols: [u8; 256],
    ac: bool,
}

impl Code {
    /// The code with so many words of each length from 1 to 16, if it is one that 8-bit images have.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8], ac: bool) -> Option<Code> {
        // A coefficient has at most 10 bits and a difference 11; so two of them fit one look at the bits.
        let sizes = if ac { |symbol: &u8| symbol & 15 <= 10 } else { |symbol: &u8| *symbol <= 11 };
        if symbols.len() > 256 || !symbols.iter().all(sizes) {
            return None;
        }
        let mut code = Code {
            table: vec![Entry(0); 1 << LOOK_UP].try_into().ok()?,
            greatest: [-1; 17],
            distance: [0; 17],
            symbols: [0; 256],
            ac,
        };
        code.symbols[..symbols.len()].copy_from_slice(symbols);
        let (mut word, mut index) = (0_i32, 0);
        for (length, &count) in (1_u32..).zip(counts) {
            let count = usize::from(count);
            code.distance[length as usize] = index as i32 - word;
            if word + count as i32 > 1 << length {
                return None;
            }
            if length <= LOOK_UP {
                let copies = 1 << (LOOK_UP - length);
                for symbol in &symbols[index..index + count] {
                    code.table[word as usize * copies..][..copies].fill(Entry::new(length, *symbol, ac));
                    word += 1;
                }
            } else {
                word += count as i32;
            }
            index += count;
            if count > 0 {
                code.greatest[length as usize] = word - 1;
            }
            word <<= 1;
        }
        Some(code)
    }

    /// Decodes the code word at the top of `bits`; `None` where there is no such word.
    #[inline(always)]
    pub(super) fn entry(&self, bits: u64) -> Option<Entry> {
        let entry = self.table[(bits >> (64 - LOOK_UP)) as usize];
        if entry.0 != 0 { Some(entry) } else { self.long_entry(bits) }
    }

    #[cold]
    #[inline(never)]
    fn long_entry(&self, bits: u64) -> Option<Entry> {
        for length in LOOK_UP + 1..=16 {
            let word = (bits >> (64 - length)) as i32;
            if word <= self.greatest[length as usize] {
                let index = word + self.distance[length as usize];
                let symbol = *self.symbols.get(usize::try_from(index).ok()?)?;
                return Some(Entry::new(length, symbol, self.ac));
            }
        }
        None
    }

    /// A table over [`SKIP`] bits for passing over AC coefficients, see [`Leap`].
    pub(super) fn leaps(&self) -> Box<[Leap; 1 << SKIP]> {
        let leaps: Box<[Leap]> = (0..1 << SKIP).map(|window| self.leap(window)).collect();
        leaps.try_into().unwrap_or_else(|_| unreachable!("just as many"))
    }

    /// As many whole coefficients as the window holds; where it holds none, more steps than a block has.
    fn leap(&self, window: u32) -> Leap {
        let (mut bits, mut steps) = (0, 0);
        while bits < SKIP {
            let left = window << bits & ((1 << SKIP) - 1);
            let entry = self.table[(left >> (SKIP - LOOK_UP)) as usize];
            // The number after the last code word may lie beyond the window, for it does not matter.
            if entry.0 == 0 || entry.bits() - entry.size() > SKIP - bits {
                break;
            }
            bits += entry.bits();
            if entry.run() >= END {
                return Leap::new(bits, steps, true);
            }
            steps += entry.run() + 1;
            if steps >= 63 {
                break;
            }
        }
        Leap::new(bits, if bits == 0 { 64 } else { steps }, false)
    }
}

/// A step over some AC coefficients: bits (at most [`SKIP`] and a number), coefficients, and whether the block ends. In
/// two bytes, so that the table takes 16 KiB and the first cache has room for the data beside it.
#[derive(Clone, Copy)]
pub(super) struct Leap(u16);

impl Leap {
    fn new(bits: u32, steps: u32, ends: bool) -> Leap {
        Leap((bits | steps << 5 | u32::from(ends) << 12) as u16)
    }

    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        u32::from(self.0 & 31)
    }

    #[inline(always)]
    pub(super) fn steps(self) -> u32 {
        u32::from(self.0 >> 5 & 127)
    }

    #[inline(always)]
    pub(super) fn ends(self) -> bool {
        self.0 >> 12 != 0
    }
}
