//! Reads the coded data as bits. A window of the data is buffered without the zero bytes that are stuffed after each
//! 0xFF. It is stored in reverse order, so that reading bits is one little-endian load (WebAssembly cannot reverse
//! bytes).

use std::marker::PhantomData;

use crate::lanes::Lanes;

/// The size of the window in bytes, a power of two.
const WINDOW: usize = 32 << 10;
/// An upper bound of the bytes of a block: a DC difference and 63 AC coefficients of at most 27 bits each, and the bits
/// that are read in advance.
const BLOCK_BYTES: usize = 256;

/// The data are broken, use an unsupported feature or end too early. The fallback decoder decides whether the image is
/// refused.
#[derive(Debug)]
pub(super) struct InvalidData;

/// Reads the coded data bit by bit.
pub(super) struct BitReader<'a, L> {
    /// The data that are not yet in the window.
    rest: &'a [u8],
    /// Byte n of the data is at `WINDOW - 1 - n`. The last byte is followed by zeros, at lower indices.
    window: Box<[u8; WINDOW + 8]>,
    /// The number of bits of the window that were consumed.
    at: usize,
    /// The number of data bytes in the window.
    end: usize,
    /// The window is refilled when `at` reaches this number of bits.
    refill_at: usize,
    /// True if the window contains all data up to the next marker or the end of the body.
    last: bool,
    lanes: PhantomData<L>,
}

impl<'a, L: Lanes> BitReader<'a, L> {
    pub(super) fn new(data: &'a [u8]) -> Result<Self, InvalidData> {
        let window = vec![0; WINDOW + 8].try_into().expect("same length");
        let mut bits = BitReader { rest: data, window, at: 0, end: 0, refill_at: 0, last: false, lanes: PhantomData };
        bits.refill()?;
        Ok(bits)
    }

    /// The next bits, at least 57; the first is the most significant.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        // The mask never changes the value, because a block does not reach that far. It removes the bounds check.
        let byte = (WINDOW - 8).wrapping_sub(self.at >> 3) & (WINDOW - 1);
        let eight = self.window[byte..byte + 8].first_chunk().expect("eight");
        u64::from_le_bytes(*eight) << (self.at & 7)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.at += bits as usize;
    }

    /// Ensures that the window has a whole block. Call before each block.
    #[inline(always)]
    pub(super) fn ensure_block(&mut self) -> Result<(), InvalidData> {
        if self.at >= self.refill_at { self.refill() } else { Ok(()) }
    }

    /// Checks that no bits beyond the data were consumed. Call after the last block.
    pub(super) fn check_end(&self) -> Result<(), InvalidData> {
        if self.at > 8 * self.end { Err(InvalidData) } else { Ok(()) }
    }

    /// Checks that all data up to a marker or the end of the body were consumed. Returns the rest, which begins with
    /// the marker.
    pub(super) fn expect_marker(&mut self) -> Result<&'a [u8], InvalidData> {
        if !self.last {
            self.refill()?;
        }
        self.check_end()?;
        // Less than a byte may be left; otherwise the marker is not where it should be.
        if !self.last || self.end > self.at.div_ceil(8) {
            return Err(InvalidData);
        }
        Ok(self.rest)
    }

    /// Continues after a restart marker, which must be next.
    pub(super) fn restart(&mut self) -> Result<(), InvalidData> {
        let [0xFF, 0xD0..=0xD7, rest @ ..] = self.expect_marker()? else { return Err(InvalidData) };
        self.rest = rest;
        (self.at, self.end, self.last) = (0, 0, false);
        self.refill()
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> Result<(), InvalidData> {
        if self.last {
            return self.check_end();
        }
        let consumed = self.at >> 3;
        self.window.copy_within(WINDOW - self.end..WINDOW - consumed, WINDOW - (self.end - consumed));
        self.at &= 7;
        self.end -= consumed;
        self.fill();
        // Zeros, because bits beyond the end may be read in advance.
        let free = WINDOW - self.end;
        self.window[free.saturating_sub(BLOCK_BYTES)..free].fill(0);
        self.refill_at = if self.last { 8 * self.end + 1 } else { 8 * (self.end - BLOCK_BYTES) };
        Ok(())
    }

    /// Reads until the window is full except for the zeros, or until a marker or the end of the body.
    #[inline(always)]
    fn fill(&mut self) {
        const FULL: usize = WINDOW - BLOCK_BYTES - 16;
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

/// Skips the coded data of a scan. Returns the data after the scan.
pub(super) fn skip_coded_data<L: Lanes>(mut data: &[u8]) -> &[u8] {
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

/// Counts the MCUs between restart markers.
pub(super) struct Restarts {
    interval: usize,
    left: usize,
}

impl Restarts {
    /// For a scan with a marker after every `interval` MCUs; 0 means no markers.
    pub(super) fn new(interval: usize) -> Self {
        Restarts { interval, left: interval }
    }

    /// Advances by one MCU. Returns true if a restart marker precedes this MCU.
    #[inline(always)]
    pub(super) fn is_due(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        let next = self.left == 0;
        self.left = if next { self.interval } else { self.left } - 1;
        next
    }
}
