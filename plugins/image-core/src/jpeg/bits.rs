//! Reads the coded data as bits. A window of the data is buffered without the zero bytes that are stuffed after each
//! 0xFF. It is stored in reverse order, so that reading bits is one little-endian load (WebAssembly cannot reverse
//! bytes).

use std::marker::PhantomData;

use super::fault::Fault;
use super::segments::skip_to_marker;
use crate::lanes::Lanes;

/// The size of the window in bytes, a power of two.
const WINDOW: usize = 32 << 10;
/// An upper bound of the bytes of a block: a DC difference and 63 AC coefficients of at most 27 bits each, and the bits
/// that are read in advance.
const BLOCK_BYTES: usize = 256;

/// The next bits in a register. Decoding does not wait for the address of the bytes that follow, as for [`BitReader::peek`].
pub(super) struct Upcoming {
    /// The first bit is the most significant.
    pub(super) bits: u64,
    /// How many of the bits were counted as read, at most 63. Only the lowest six bits of this number count.
    count: u32,
    /// The place in the window of the eight bytes that come next. It wraps.
    next: usize,
}

impl Upcoming {
    /// Skips a number of bits below 64. Only its lowest six bits count, so an entry of a table may have more above them.
    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.bits = self.bits.wrapping_shl(bits);
        self.count = self.count.wrapping_sub(bits);
    }

    /// The position of the next bit.
    #[inline(always)]
    pub(super) fn position(&self) -> usize {
        8 * (WINDOW - 8).wrapping_sub(self.next) - (self.count & 63) as usize
    }
}

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
    /// True if the scan has restart markers. Then missing data are replaced by zeros up to the next restart marker.
    resyncs: bool,
    /// True if the data up to the next restart marker are missing.
    starved: bool,
    /// The number of the next restart marker.
    next_restart: u8,
    lanes: PhantomData<L>,
}

impl<'a, L: Lanes> BitReader<'a, L> {
    /// For a scan; `resyncs` is true if it has restart markers.
    pub(super) fn new(data: &'a [u8], resyncs: bool) -> Result<Self, Fault> {
        let mut bits = BitReader {
            rest: data,
            window: vec![0; WINDOW + 8].try_into().expect("the vector is as long as the array"),
            at: 0,
            end: 0,
            refill_at: 0,
            last: false,
            resyncs,
            starved: false,
            next_restart: 0,
            lanes: PhantomData,
        };
        bits.refill()?;
        Ok(bits)
    }

    /// The next bits, at least 57; the first is the most significant.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.eight_bytes((WINDOW - 8).wrapping_sub(self.at >> 3)) << (self.at & 7)
    }

    /// The eight bytes at a place of the window; the last one is the most significant.
    #[inline(always)]
    fn eight_bytes(&self, place: usize) -> u64 {
        // The mask never changes the value, because a block does not reach that far. It removes the bounds check.
        let place = place & (WINDOW - 1);
        let eight = self.window[place..place + 8].first_chunk().expect("the slice has eight bytes");
        u64::from_le_bytes(*eight)
    }

    /// The bits from the position on.
    #[inline(always)]
    pub(super) fn upcoming(&self) -> Upcoming {
        let (place, consumed) = ((WINDOW - 8).wrapping_sub(self.at >> 3), (self.at & 7) as u32);
        Upcoming { bits: self.eight_bytes(place) << consumed, count: 56 - consumed, next: place.wrapping_sub(7) }
    }

    /// Reads bytes until there are at least 56 bits.
    #[inline(always)]
    pub(super) fn read_more(&self, upcoming: &mut Upcoming) {
        let count = upcoming.count & 63;
        upcoming.bits |= self.eight_bytes(upcoming.next) >> count;
        // As many whole bytes as fit. The bits after them are set too, and stay the same when they are read again.
        upcoming.next = upcoming.next.wrapping_sub(((63 - count) >> 3) as usize);
        upcoming.count = count | 56;
    }

    #[inline(always)]
    pub(super) fn set_position(&mut self, at: usize) {
        self.at = at;
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.at += bits as usize;
    }

    /// Ensures that the window has a whole block. Call before each block.
    #[inline(always)]
    pub(super) fn ensure_block(&mut self) -> Result<(), Fault> {
        if self.at >= self.refill_at { self.refill() } else { Ok(()) }
    }

    /// Checks that no bits beyond the data were consumed. Call after each MCU.
    #[inline(always)]
    pub(super) fn end_mcu(&mut self) -> Result<(), Fault> {
        if self.at > 8 * self.end { self.overrun() } else { Ok(()) }
    }

    /// True if the data of the next MCU are missing. The MCU then stays as it is.
    #[inline(always)]
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Returns the data after the scan, which begin with a marker, unless the body ends there. Call after the last MCU.
    pub(super) fn finish(self) -> &'a [u8] {
        // Bytes between the last MCU and the marker are ignored, as in libjpeg.
        if self.last { self.rest } else { skip_to_marker::<L>(self.rest) }
    }

    /// Continues after a restart marker, see [`next_interval`].
    pub(super) fn restart(&mut self) -> Result<(), Fault> {
        let expected = self.next_restart;
        self.next_restart = (expected + 1) & 7;
        (self.at, self.end) = (0, 0);
        match next_interval::<L>(self.rest, expected)? {
            Interval::Data(data) => {
                (self.rest, self.last, self.starved) = (data, false, false);
                self.refill()
            }
            Interval::Missing(data) => {
                (self.rest, self.last) = (data, true);
                self.end_window();
                Ok(())
            }
        }
    }

    /// Bits beyond the data were consumed, which are zeros.
    #[cold]
    #[inline(never)]
    fn overrun(&mut self) -> Result<(), Fault> {
        if self.rest.len() < 2 {
            return Err(Fault::Truncated);
        }
        if !self.resyncs {
            return Err(Fault::Interrupted);
        }
        self.starved = true;
        // From here on, the window contains only zeros.
        self.at = 8 * self.end;
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> Result<(), Fault> {
        if self.last {
            return self.end_mcu();
        }
        let consumed = self.at >> 3;
        self.window.copy_within(WINDOW - self.end..WINDOW - consumed, WINDOW - (self.end - consumed));
        self.at &= 7;
        self.end -= consumed;
        self.fill();
        self.end_window();
        Ok(())
    }

    /// Writes zeros after the data, because bits beyond the end may be read in advance.
    fn end_window(&mut self) {
        let free = WINDOW - self.end;
        self.window[free.saturating_sub(BLOCK_BYTES)..free].fill(0);
        self.refill_at = if self.last { 8 * self.end + 1 } else { 8 * (self.end - BLOCK_BYTES) };
    }

    /// Reads until the window is full except for the zeros, or until a marker or the end of the body.
    #[inline(always)]
    fn fill(&mut self) {
        const FULL: usize = WINDOW - BLOCK_BYTES - 16;
        while self.end < FULL {
            if let Some(sixteen) = self.rest.first_chunk::<16>() {
                let lanes = L::load_u8(sixteen);
                let to = WINDOW - self.end - 16;
                lanes.store_reversed(self.window[to..].first_chunk_mut().expect("the window has room for 16 bytes"));
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

/// Where the data continue after a restart.
pub(super) enum Interval<'a> {
    /// After the restart marker.
    Data(&'a [u8]),
    /// The data of this interval are missing. The marker of a later interval or another marker follows.
    Missing(&'a [u8]),
}

/// Searches the restart marker with the number `expected`. If another marker is next, data or a marker were lost. Then
/// the rules of libjpeg (`jpeg_resync_to_restart`) decide where the data continue.
pub(super) fn next_interval<L: Lanes>(data: &[u8], expected: u8) -> Result<Interval<'_>, Fault> {
    let mut rest = skip_to_marker::<L>(data);
    loop {
        let [0xFF, marker, after @ ..] = rest else { return Err(Fault::Truncated) };
        let ahead = match marker {
            0xD0..=0xD7 => (marker - 0xD0).wrapping_sub(expected) & 7,
            // Not a marker of any kind: the data were changed.
            ..0xC0 => 7,
            _ => 1,
        };
        match ahead {
            // One of the next two markers, or the end of the scan.
            1 | 2 => return Ok(Interval::Missing(rest)),
            // One of the previous two markers: the expected one is still to come.
            6 | 7 => rest = skip_to_marker::<L>(after),
            // The expected marker, or one that is so far off that its number must be wrong.
            _ => return Ok(Interval::Data(after)),
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
