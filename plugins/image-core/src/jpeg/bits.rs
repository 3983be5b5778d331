//! The coded data as bits: a window over them, without the zeros that stand after each 0xFF, and in reverse order, so
//! that a look at the bits is one little-endian load (WebAssembly cannot reverse bytes).

use std::marker::PhantomData;

use crate::lanes::Lanes;

/// Bytes of the window, a power of two.
const WINDOW: usize = 32 << 10;
/// More than a block can take: a difference and 63 coefficients, at most 27 bits each, and a look beyond.
const BLOCK: usize = 256;

/// The data are broken, or end too soon.
#[derive(Debug)]
pub(super) struct Unsound;

/// A place in the coded data.
pub(super) struct Bits<'a, L> {
    /// What was not read into the window.
    rest: &'a [u8],
    /// Byte n of the data stands at `WINDOW - 1 - n`, and zeros after the last.
    window: Box<[u8; WINDOW + 8]>,
    /// Bits of the window that are behind.
    at: usize,
    /// Bytes in the window.
    end: usize,
    /// Where `at` calls for more.
    low: usize,
    /// Whether the data in the window are the last before a marker.
    last: bool,
    lanes: PhantomData<L>,
}

impl<'a, L: Lanes> Bits<'a, L> {
    pub(super) fn new(data: &'a [u8]) -> Result<Self, Unsound> {
        let window = vec![0; WINDOW + 8].try_into().expect("just as long");
        let mut bits = Bits { rest: data, window, at: 0, end: 0, low: 0, last: false, lanes: PhantomData };
        bits.more()?;
        Ok(bits)
    }

    /// The next bits, at least 57, the first on top.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        // The mask changes nothing, for a block never leads so far; with it no check of bounds is needed.
        let byte = (WINDOW - 8).wrapping_sub(self.at >> 3) & (WINDOW - 1);
        let eight = self.window[byte..byte + 8].first_chunk().expect("eight");
        u64::from_le_bytes(*eight) << (self.at & 7)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.at += bits as usize;
    }

    /// Sees to it that the window holds a whole block; to be called before each.
    #[inline(always)]
    pub(super) fn before_block(&mut self) -> Result<(), Unsound> {
        if self.at >= self.low { self.more() } else { Ok(()) }
    }

    /// Checks that no more was read than there is; to be called after the last block.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        if self.at > 8 * self.end { Err(Unsound) } else { Ok(()) }
    }

    /// Checks that all was read up to a marker, or the end of the body; gives what is there.
    pub(super) fn end(&mut self) -> Result<&'a [u8], Unsound> {
        if !self.last {
            self.more()?;
        }
        self.check()?;
        // What is left can only be less than a byte: then the marker is where it should be.
        if !self.last || self.end > self.at.div_ceil(8) {
            return Err(Unsound);
        }
        Ok(self.rest)
    }

    /// Goes on after a restart marker, which must be the next.
    pub(super) fn restart(&mut self) -> Result<(), Unsound> {
        let [0xFF, 0xD0..=0xD7, rest @ ..] = self.end()? else { return Err(Unsound) };
        self.rest = rest;
        (self.at, self.end, self.last) = (0, 0, false);
        self.more()
    }

    #[cold]
    #[inline(never)]
    fn more(&mut self) -> Result<(), Unsound> {
        if self.last {
            return self.check();
        }
        let behind = self.at >> 3;
        self.window.copy_within(WINDOW - self.end..WINDOW - behind, WINDOW - (self.end - behind));
        self.at &= 7;
        self.end -= behind;
        self.fill();
        // Zeros for the looks beyond the end.
        let free = WINDOW - self.end;
        self.window[free.saturating_sub(BLOCK)..free].fill(0);
        self.low = if self.last { 8 * self.end + 1 } else { 8 * (self.end - BLOCK) };
        Ok(())
    }

    /// Reads until the window is full but for the zeros, or a marker or the end of the body comes.
    #[inline(always)]
    fn fill(&mut self) {
        const FULL: usize = WINDOW - BLOCK - 16;
        while self.end < FULL {
            if let Some(sixteen) = self.rest.first_chunk::<16>() {
                let lanes = L::load_u8(sixteen);
                let to = WINDOW - self.end - 16;
                lanes.store_reversed(self.window[to..].first_chunk_mut().expect("the window is not full"));
                let mask = lanes.ff_mask();
                let plain = if mask == 0 { 16 } else { mask.trailing_zeros() as usize };
                self.rest = &self.rest[plain..];
                self.end += plain;
                if mask == 0 {
                    continue;
                }
            }
            match self.rest {
                [0xFF, 0x00, rest @ ..] => {
                    self.put(0xFF);
                    self.rest = rest;
                }
                [0xFF, 0xFF, ..] => self.rest = &self.rest[1..],
                [] | [0xFF, ..] => {
                    self.last = true;
                    return;
                }
                [byte, rest @ ..] => {
                    self.put(*byte);
                    self.rest = rest;
                }
            }
        }
    }

    fn put(&mut self, byte: u8) {
        self.window[WINDOW - 1 - self.end] = byte;
        self.end += 1;
    }
}

/// What stands after the coded data of a scan, which are passed over.
pub(super) fn after<L: Lanes>(mut data: &[u8]) -> &[u8] {
    loop {
        while let Some(sixteen) = data.first_chunk::<16>()
            && L::load_u8(sixteen).ff_mask() == 0
        {
            data = &data[16..];
        }
        match data {
            [] | [0xFF] => return &[],
            [0xFF, 0x00 | 0xD0..=0xD7, rest @ ..] => data = rest,
            [0xFF, 0xFF, ..] => data = &data[1..],
            [0xFF, ..] => return data,
            [_, rest @ ..] => data = rest,
        }
    }
}

/// Says before which MCUs a restart marker stands.
pub(super) struct Restarts {
    interval: usize,
    left: usize,
}

impl Restarts {
    /// For a scan with so many MCUs between them; 0 is none.
    pub(super) fn new(interval: usize) -> Self {
        Restarts { interval, left: interval }
    }

    /// Whether one stands before the next MCU.
    #[inline(always)]
    pub(super) fn is_next(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        let next = self.left == 0;
        self.left = if next { self.interval } else { self.left } - 1;
        next
    }
}
