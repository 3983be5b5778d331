//! The tables of an image: quantisation, Huffman codes, the conditioning of arithmetic codes, and the restart interval.
//! Their segments may also be between scans.

use super::fault::Fault;
use super::headers::Headers;
use super::huffman::Code;
use super::segments::next_segment;

/// Maps zigzag order to the position in a block, which is stored row by row. In a broken image, indices beyond the block
/// map to the last position, as in libjpeg.
pub(super) const ZIGZAG: [u8; 128] = {
    const ORDER: [u8; 64] = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14,
        21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60,
        61, 54, 47, 55, 62, 63,
    ];
    let mut places = [63; 128];
    let mut index = 0;
    while index < 64 {
        places[index] = ORDER[index];
        index += 1;
    }
    places
};

impl Headers<'_> {
    /// Reads a segment that is also allowed between scans: tables and the restart interval. DNL, application segments and
    /// comments are ignored. As in libjpeg, all other markers are faults.
    pub(super) fn table(&mut self, marker: u8, segment: &[u8]) -> Result<(), Fault> {
        let read = match marker {
            0xC4 => self.huffman(segment),
            0xCC => self.conditioning(segment),
            0xDB => self.quantisation(segment),
            0xDD => segment.as_array().map(|interval| self.restart = usize::from(u16::from_be_bytes(*interval))),
            0xDC | 0xE0..=0xEF | 0xFE => Some(()),
            _ => None,
        };
        read.ok_or(Fault::Segment(marker))
    }

    /// Checks the data after the only scan up to the end of the image, as libjpeg does. A frame, a scan, the start of
    /// an image or a segment that is not valid is a fault: it is a wrong marker in broken data, or the start of another
    /// image. Without a marker, the image ends with the data.
    pub(super) fn end(&mut self, rest: &[u8]) -> Result<(), Fault> {
        let mut at = 0;
        loop {
            let from = at;
            match next_segment(rest, &mut at) {
                Some((0xD9, _)) => return Ok(()),
                Some((0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xDA, _)) => {
                    return Err(Fault::ScanOrder);
                }
                Some((marker, segment)) => self.table(marker, segment)?,
                // A marker without its whole segment.
                None if matches!(&rest[from..at], [.., 0xFF, 0x02..=0xCF | 0xD8..=0xFE]) => {
                    return Err(Fault::Truncated);
                }
                None => return Ok(()),
            }
        }
    }

    /// The code of the DC differences with this number.
    pub(super) fn dc_code(&self, number: usize) -> Result<&Code, Fault> {
        self.codes[..4][number].as_ref().ok_or(Fault::MissingTable)
    }

    /// The code of the AC coefficients with this number.
    pub(super) fn ac_code(&self, number: usize) -> Result<&Code, Fault> {
        self.codes[4..][number].as_ref().ok_or(Fault::MissingTable)
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let wide = kind >> 4 > 0;
            let quantiser = self.quantisers.get_mut(usize::from(kind & 15))?.insert([0; 64]);
            let (values, rest) = rest.split_at_checked(if wide { 128 } else { 64 })?;
            for (index, place) in ZIGZAG[..64].iter().enumerate() {
                let value = match wide {
                    true => i16::from_be_bytes([values[2 * index], values[2 * index + 1]]),
                    false => i16::from(values[index]),
                };
                quantiser[usize::from(*place)] = value;
            }
            segment = rest;
        }
        Some(())
    }

    fn conditioning(&mut self, segment: &[u8]) -> Option<()> {
        let (pairs, rest) = segment.as_chunks::<2>();
        for [table, value] in pairs {
            let place = usize::from(table & 15);
            match table >> 4 {
                0 => {
                    let (low, high) = (value & 15, value >> 4);
                    *self.conditioning.dc.get_mut(place).filter(|_| low <= high)? = (low, high);
                }
                1 => *self.conditioning.ac.get_mut(place)? = *value,
                _ => return None,
            }
        }
        rest.is_empty().then_some(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            if kind & 0xEC != 0 {
                return None;
            }
            let (ac, place) = (kind >> 4 == 1, usize::from(kind >> 4) * 4 + usize::from(kind & 3));
            self.codes[place] = Some(Code::new(counts, symbols, ac)?);
            segment = rest;
        }
        Some(())
    }
}
