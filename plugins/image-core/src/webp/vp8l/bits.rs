//! The bits of a lossless image, beginning with the lowest bit of a byte (section 3).

pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits. Those above `held` are 0 or equal to the bits of `rest`.
    window: u64,
    held: u32,
    /// The bytes of the window that lie beyond the end. They are 0.
    beyond: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Bits { rest, window: 0, held: 0, beyond: 0 }
    }

    /// Fills the window to at least 56 bits.
    #[inline]
    pub(super) fn refill(&mut self) {
        if let Some(next) = self.rest.first_chunk::<8>() {
            self.window |= u64::from_le_bytes(*next) << self.held;
            let bytes = (63 - self.held) / 8;
            self.rest = &self.rest[bytes as usize..];
            self.held += 8 * bytes;
        } else {
            self.refill_at_end();
        }
    }

    #[cold]
    fn refill_at_end(&mut self) {
        while self.held < 56 {
            if let Some((&byte, rest)) = self.rest.split_first() {
                self.window |= u64::from(byte) << self.held;
                self.rest = rest;
            } else {
                self.beyond += 1;
            }
            self.held += 8;
        }
    }

    /// The next bits; at least as many as the last [`Bits::refill`] left are valid.
    #[inline]
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    #[inline]
    pub(super) fn consume(&mut self, bits: u32) {
        self.window >>= bits;
        self.held -= bits;
    }

    /// Makes sure that the window has this many bits, at most 56.
    #[inline]
    pub(super) fn hold(&mut self, bits: u32) {
        if self.held < bits {
            self.refill();
        }
    }

    /// A number of at most 32 bits.
    #[inline]
    pub(super) fn number(&mut self, bits: u32) -> u32 {
        self.hold(bits);
        let number = self.window & ((1 << bits) - 1);
        self.consume(bits);
        number as u32
    }

    pub(super) fn flag(&mut self) -> bool {
        self.number(1) == 1
    }

    /// True if bits beyond the end were read.
    #[inline]
    pub(super) fn ended(&self) -> bool {
        8 * self.beyond > self.held
    }
}
