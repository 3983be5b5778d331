//! The arithmetic decoder of VP8 (RFC 6386, section 7.3).

/// A partition and the position in it. A loop copies it, so that its fields are in registers.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    value: u64,
    /// The range minus 1.
    range: u32,
    /// The number of bits in `value` minus 8.
    bits: i32,
    /// True if a byte beyond the end was needed.
    ended: bool,
}

impl<'a> Bits<'a> {
    /// libwebp reads the first bytes at once, so an empty partition has ended, even if no bit of it is needed.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Bits { rest: data, value: 0, range: 254, bits: -8, ended: data.is_empty() }
    }

    /// True if a byte beyond the end was needed; what was read since is undefined. libwebp refuses such an image.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    #[cold]
    #[inline(never)]
    fn loaded(mut self) -> Self {
        if let Some((bytes, rest)) = self.rest.split_first_chunk::<4>() {
            (self.rest, self.bits) = (rest, self.bits + 32);
            self.value = self.value << 32 | u64::from(u32::from_be_bytes(*bytes));
        } else if let Some((byte, rest)) = self.rest.split_first() {
            (self.rest, self.bits) = (rest, self.bits + 8);
            self.value = self.value << 8 | u64::from(*byte);
        } else {
            (self.value, self.bits, self.ended) = (0, 0, true);
        }
        self
    }

    /// Reads a bit. `zero` is the probability of 0, of 256.
    #[inline(always)]
    pub(super) fn bit(&mut self, zero: u8) -> bool {
        if self.bits < 0 {
            *self = self.loaded();
        }
        let split = (self.range * u32::from(zero)) >> 8;
        let bit = (self.value >> self.bits) as u32 > split;
        // Without a branch, which would often be predicted wrongly.
        let mask = u64::from(bit).wrapping_neg();
        self.value -= (u64::from(split + 1) << self.bits) & mask;
        let range = (split + 1).wrapping_add((self.range - split).wrapping_sub(split + 1) & mask as u32);
        let shift = range.leading_zeros().saturating_sub(24);
        self.bits -= shift as i32;
        self.range = (range << shift) - 1;
        bit
    }

    /// Reads the sign of a number, which must not be the first bit. Faster than [`Bits::flag`]: the range is 255 only before
    /// the first bit, and half of any other range is shifted by one bit.
    #[inline(always)]
    pub(super) fn with_sign(&mut self, number: i32) -> i32 {
        if self.bits < 0 {
            *self = self.loaded();
        }
        let split = self.range >> 1;
        let bit = (self.value >> self.bits) as u32 > split;
        self.value -= (u64::from(split + 1) << self.bits) & u64::from(bit).wrapping_neg();
        self.bits -= 1;
        self.range = (self.range - u32::from(bit)) | 1;
        let mask = -i32::from(bit);
        (number ^ mask) - mask
    }

    /// Reads a bit of which 0 and 1 are equally probable.
    pub(super) fn flag(&mut self) -> bool {
        self.bit(128)
    }

    /// Reads a number of this many bits.
    pub(super) fn number(&mut self, bits: u32) -> i32 {
        (0..bits).fold(0, |number, _| 2 * number + i32::from(self.flag()))
    }

    /// Reads a number of this many bits and its sign.
    pub(super) fn signed(&mut self, bits: u32) -> i32 {
        let number = self.number(bits);
        if self.flag() { -number } else { number }
    }

    /// Reads a flag, and if it is set, a number of this many bits and its sign. Otherwise the number is 0.
    pub(super) fn optional(&mut self, bits: u32) -> i32 {
        if self.flag() { self.signed(bits) } else { 0 }
    }
}
