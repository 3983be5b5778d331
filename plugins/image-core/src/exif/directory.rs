//! The orientation in a directory of tags: that of an EXIF block, or the first one of a TIFF file.
//!
//! EXIF's type of the value is SHORT (EXIF 2.32, 4.6.4), but writers use others too. As in Pillow, the first value of
//! every type of number counts, if it is equal to an orientation. The bytes and texts of BYTE, ASCII and UNDEFINED are
//! not numbers.

/// The tag of the orientation.
const ORIENTATION: u64 = 0x0112;

/// A directory in a file, or in an EXIF block, which has the form of a TIFF file.
pub(crate) struct Directory<'a> {
    /// The file or the block; offsets count from its start.
    pub(crate) file: &'a [u8],
    /// Where the directory begins.
    pub(crate) at: u64,
    pub(crate) big_endian: bool,
    /// True if it is that of a BigTIFF: counts and offsets have 8 bytes.
    pub(crate) big: bool,
}

impl<'a> Directory<'a> {
    /// The directory of an EXIF block. `None` if the block does not begin with a TIFF header.
    pub(super) fn of_block(block: &'a [u8]) -> Option<Self> {
        let big_endian = match block.first_chunk()? {
            b"II*\0" | b"II\0*" => false,
            // Pillow reads a big-endian BigTIFF as a TIFF, and looks for the directory at a place where there is none.
            b"MM\0*" | b"MM*\0" | b"MM\0+" => true,
            _ => return None,
        };
        let directory = Directory { file: block, at: 0, big_endian, big: false };
        Some(Directory { at: directory.number(4, 4)?, ..directory })
    }

    /// The orientation, 1 to 8; 0 if the value is none of these. `None` if the directory does not contain it.
    ///
    /// An entry without values or of an unknown type does not count, nor do values that would be longer than the file.
    /// The directory ends where an entry or its values are not in the file.
    pub(crate) fn orientation(&self) -> Option<u8> {
        let (length, size, field) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.number(self.at, length)?;
        let mut values_bytes = 0_u64;
        for index in 0..count {
            let entry = self.at.checked_add(length)?.checked_add(index.checked_mul(size)?)?;
            // The whole entry must be in the file.
            self.slice(entry, size)?;
            let kind = self.number(entry + 2, 2)?;
            let Some(width) = width(kind) else { continue };
            let bytes = self.number(entry + 4, field)?.saturating_mul(width);
            let values = if bytes > field {
                values_bytes = values_bytes.saturating_add(bytes);
                if values_bytes > self.file.len() as u64 {
                    continue;
                }
                self.slice(self.number(entry + 4 + field, field)?, bytes)?
            } else {
                self.slice(entry + 4 + field, bytes)?
            };
            if !values.is_empty() && self.number(entry, 2)? == ORIENTATION {
                let value = self.first_value(kind, values);
                return Some((1..=8).find(|number| value == Some(f64::from(*number))).unwrap_or(0));
            }
        }
        None
    }

    /// The first of the values, if they are numbers. A number that is not exact as `f64` is not near an orientation.
    fn first_value(&self, kind: u64, values: &[u8]) -> Option<f64> {
        let (first, second) = values.split_at_checked(4).unwrap_or((values, &[]));
        let whole = |bytes: &[u8]| integer(bytes, self.big_endian);
        let signed = |bytes| whole(bytes).map(|value| f64::from(value as u32 as i32));
        Some(match kind {
            3 => whole(values.get(..2)?)? as f64,
            4 | 13 => whole(first)? as f64,
            16 => whole(values.get(..8)?)? as f64,
            6 => f64::from(*values.first()? as i8),
            8 => f64::from(whole(values.get(..2)?)? as u16 as i16),
            9 => signed(first)?,
            5 => whole(first)? as f64 / whole(second.get(..4)?)? as f64,
            10 => signed(first)? / signed(second.get(..4)?)?,
            11 => f64::from(f32::from_bits(whole(first)? as u32)),
            12 => f64::from_bits(whole(values.get(..8)?)?),
            _ => return None,
        })
    }

    fn number(&self, at: u64, bytes: u64) -> Option<u64> {
        integer(self.slice(at, bytes)?, self.big_endian)
    }

    fn slice(&self, at: u64, bytes: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(at).ok()?;
        self.file.get(at..at.checked_add(usize::try_from(bytes).ok()?)?)
    }
}

/// The bytes of a value of a type that Pillow knows.
fn width(kind: u64) -> Option<u64> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 => 8,
        _ => return None,
    })
}

/// Reads an unsigned integer of at most 8 bytes.
pub(crate) fn integer(bytes: &[u8], big_endian: bool) -> Option<u64> {
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match bytes.len() {
        0 | 9.. => None,
        _ if big_endian => Some(bytes.iter().fold(0, add)),
        _ => Some(bytes.iter().rev().fold(0, add)),
    }
}
