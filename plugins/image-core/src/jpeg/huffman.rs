//! Huffman codes as look-up tables.

/// The longest code word, in bits, that one look-up decodes. Between 9 and 12 bits the speed differs by less than 5 %.
pub(super) const LOOKUP_BITS: u32 = 11;
/// The bits used by one look-up to skip coefficients that do not matter.
pub(super) const SKIP_BITS: u32 = 13;
/// The run that represents the end of a block or band. It is the smallest run that leads beyond index 63 from
/// any index.
pub(super) const END_OF_BLOCK: u32 = 64;

/// The result of a look-up, packed. From the lowest bit:
/// - 8 bits: the bits of the code word plus those of the number after it. 0 if the code word is longer than the look-up.
/// - 8 bits: the run of zeros before the number, plus one.
/// - 1 bit: [`Entry::SEPARATE`].
/// - 4 bits: the bits of the number.
/// - 11 bits: the number. At the end of a band, the bits of the number of blocks it ends in.
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    /// Set if there is no number in the entry: it is longer than the look-up, or the code word is, or the block ends.
    const SEPARATE: u32 = 1 << 16;
    /// The number of bits before the number.
    const NUMBER: u32 = 21;
    /// There is no code word of at most [`LOOKUP_BITS`] bits.
    const NONE: Entry = Entry(Entry::SEPARATE | 1 << 8);

    /// An entry without its number.
    fn new(length: u32, symbol: u8, ac: bool) -> Entry {
        let (run, size) = if ac { (u32::from(symbol >> 4), u32::from(symbol & 15)) } else { (0, u32::from(symbol)) };
        let ends = ac && size == 0 && run < 15;
        let (run, eob_run_bits) = if ends { (END_OF_BLOCK, run) } else { (run, 0) };
        let separate = if size > 0 || ends { Self::SEPARATE } else { 0 };
        Entry((length + size) | (run + 1) << 8 | separate | size << 17 | eob_run_bits << Self::NUMBER)
    }

    /// The same entry with its number, of which these are the bits in the file.
    fn with_number(self, bits: u32) -> Entry {
        let number = signed_bits(u64::from(bits) << 1 << (63 - self.size()), 0, self.size());
        Entry(self.0 & !Self::SEPARATE | (number as u32) << Self::NUMBER)
    }

    /// True for symbols of images of 8 bits: an AC coefficient has at most 10 bits and a DC difference 11. So two of
    /// these fit into one `peek`.
    fn is_valid(symbol: u8, ac: bool) -> bool {
        if ac { symbol & 15 <= 10 } else { symbol <= 11 }
    }

    #[inline(always)]
    pub(super) fn exists(self) -> bool {
        self.bits() != 0
    }

    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0xFF
    }

    /// The run of zeros; [`END_OF_BLOCK`] if the block ends.
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        self.steps() - 1
    }

    /// The number of coefficients: the run of zeros and the number.
    #[inline(always)]
    pub(super) fn steps(self) -> u32 {
        self.0 >> 8 & 0xFF
    }

    #[inline(always)]
    pub(super) fn size(self) -> u32 {
        self.0 >> 17 & 15
    }

    /// True if the entry is a coefficient with its [`Entry::number`].
    #[inline(always)]
    pub(super) fn has_number(self) -> bool {
        self.0 & Self::SEPARATE == 0
    }

    /// The entry itself, whose lowest six bits are those of [`Entry::bits`].
    #[inline(always)]
    pub(super) fn skipped(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(super) fn number(self) -> i32 {
        (self.0 as i32) >> Self::NUMBER
    }

    /// The number of bits of the count of blocks in which the band ends, see T.81, G.1.2.2. These bits follow the
    /// [`Entry::bits`].
    #[inline(always)]
    pub(super) fn eob_run_bits(self) -> u32 {
        self.0 >> Self::NUMBER
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

/// A Huffman code.
pub(super) struct Code {
    table: Box<[Entry; 1 << LOOKUP_BITS]>,
    /// For longer code words, indexed by length: the largest code word, and the offset from a code word to the index of
    /// its symbol.
    largest: [i32; 17],
    symbol_offset: [i32; 17],
    symbols: [u8; 256],
    ac: bool,
    /// The length of the shortest code words without an entry in the table.
    shortest: u32,
    /// True if bits that are not a code word are skipped, see [`Code::entry`].
    pub(super) tolerant: bool,
}

/// The bits that libjpeg skips if they are not a code word: one more than the longest code word has.
const NO_CODE_WORD_BITS: u32 = 17;

impl Code {
    /// Builds the code with `counts` code words of each length from 1 to 16 bits. Returns `None` if it is not valid.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8], ac: bool) -> Option<Code> {
        // As libjpeg, refuse a DC difference of more than 15 bits even if the image does not use it.
        if symbols.len() > 256 || !ac && symbols.iter().any(|symbol| *symbol > 15) {
            return None;
        }
        let mut code = Code {
            table: vec![Entry::NONE; 1 << LOOKUP_BITS].try_into().ok()?,
            largest: [-1; 17],
            symbol_offset: [0; 17],
            symbols: [0; 256],
            ac,
            shortest: LOOKUP_BITS + 1,
            tolerant: false,
        };
        code.symbols[..symbols.len()].copy_from_slice(symbols);
        let (mut word, mut index) = (0_i32, 0);
        for (length, &count) in (1_u32..).zip(counts) {
            let count = usize::from(count);
            code.symbol_offset[length as usize] = index as i32 - word;
            if word + count as i32 > 1 << length {
                return None;
            }
            if length <= LOOKUP_BITS {
                let copies = 1 << (LOOKUP_BITS - length);
                for symbol in &symbols[index..index + count] {
                    // A symbol that does not occur in images of 8 bits gets no entry, so `long_entry` refuses it.
                    if Entry::is_valid(*symbol, ac) {
                        let entry = Entry::new(length, *symbol, ac);
                        let places = &mut code.table[word as usize * copies..][..copies];
                        match copies >> entry.size() {
                            copies if ac && copies > 0 && entry.size() > 0 => {
                                for (number, places) in (0..).zip(places.chunks_exact_mut(copies)) {
                                    places.fill(entry.with_number(number));
                                }
                            }
                            _ => places.fill(entry),
                        }
                    } else {
                        code.shortest = code.shortest.min(length);
                    }
                    word += 1;
                }
            } else {
                word += count as i32;
            }
            index += count;
            if count > 0 {
                code.largest[length as usize] = word - 1;
            }
            word <<= 1;
        }
        Some(code)
    }

    /// Decodes the code word in the most significant bits of `bits`. Returns `None` if its symbol does not occur in images
    /// of 8 bits. If there is no such code word, returns `None`; or if the code is tolerant, some skipped bits without a
    /// coefficient, as libjpeg does.
    #[inline(always)]
    pub(super) fn entry(&self, bits: u64) -> Option<Entry> {
        let entry = self.look_up(bits);
        let entry = if entry.exists() { entry } else { self.long_entry(bits) };
        entry.exists().then_some(entry)
    }

    /// The entry for the first bits, which may be [`Entry::NONE`].
    #[inline(always)]
    pub(super) fn look_up(&self, bits: u64) -> Entry {
        self.table[(bits >> (64 - LOOKUP_BITS)) as usize]
    }

    /// The entry of a code word that is longer than the look-up, or [`Entry::NONE`]. Not an `Option`, which WebAssembly
    /// returns in memory.
    #[cold]
    #[inline(never)]
    fn long_entry(&self, bits: u64) -> Entry {
        for length in self.shortest..=16 {
            let word = (bits >> (64 - length)) as i32;
            if word <= self.largest[length as usize] {
                // A negative index becomes one that is too large.
                let index = (word + self.symbol_offset[length as usize]) as usize;
                // Damage between restart markers does not change the tables, so this is not tolerated.
                return match self.symbols.get(index) {
                    Some(symbol) if Entry::is_valid(*symbol, self.ac) => Entry::new(length, *symbol, self.ac),
                    _ => Entry::NONE,
                };
            }
        }
        if self.tolerant { Entry::new(NO_CODE_WORD_BITS, 0, self.ac) } else { Entry::NONE }
    }

    /// A table indexed by [`SKIP_BITS`] bits for skipping AC coefficients, see [`Skip`].
    pub(super) fn skip_table(&self) -> Box<[Skip; 1 << SKIP_BITS]> {
        let skip_table: Box<[Skip]> = (0..1 << SKIP_BITS).map(|window| self.skip(window)).collect();
        skip_table.try_into().unwrap_or_else(|_| unreachable!("the table has `1 << SKIP_BITS` entries"))
    }

    /// Skips as many whole coefficients as `window` has. If it has none, `steps` is more than a block has.
    fn skip(&self, window: u32) -> Skip {
        let (mut bits, mut steps) = (0, 0);
        while bits < SKIP_BITS {
            let left = window << bits & ((1 << SKIP_BITS) - 1);
            let entry = self.table[(left >> (SKIP_BITS - LOOKUP_BITS)) as usize];
            // The number after the last code word may extend beyond the window, because its value does not matter.
            if !entry.exists() || entry.bits() - entry.size() > SKIP_BITS - bits {
                break;
            }
            bits += entry.bits();
            if entry.run() >= END_OF_BLOCK {
                return Skip::new(bits, steps, true);
            }
            steps += entry.steps();
            if steps >= 63 {
                break;
            }
        }
        Skip::new(bits, if bits == 0 { 64 } else { steps }, false)
    }
}

/// How to skip some AC coefficients, packed: the number of bits (at most [`SKIP_BITS`] plus a number), the number of
/// coefficients, and whether the block ends. It has two bytes, so that the table takes 16 KiB and leaves room for other
/// data in the L1 cache.
#[derive(Clone, Copy)]
pub(super) struct Skip(u16);

impl Skip {
    fn new(bits: u32, steps: u32, ends: bool) -> Skip {
        Skip((bits | steps << 5 | u32::from(ends) << 12) as u16)
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
