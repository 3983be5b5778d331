//! The header and the first directory of a TIFF (TIFF 6.0, section 2) or BigTIFF. Values are read in place, so a broken
//! count allocates nothing.

use super::broken;
use crate::exif::{self, integer};
use crate::limits::Rejected;

/// The first directory.
pub(super) struct Directory<'a> {
    body: &'a [u8],
    /// Where it begins.
    at: u64,
    pub(super) big_endian: bool,
    /// True if it is a BigTIFF: counts and offsets have 8 bytes.
    big: bool,
    entries: &'a [u8],
    /// True if the file has more than one page.
    pub(super) has_next: bool,
}

/// The values of an entry.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    tag: u16,
    kind: u16,
    big_endian: bool,
    pub(super) bytes: &'a [u8],
    /// The number of values; at least 1.
    pub(super) count: usize,
}

impl<'a> Directory<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Rejected> {
        let big_endian = body.starts_with(b"MM");
        let number = |at: u64, bytes: u64| integer(slice(body, at, bytes)?, big_endian);
        let end = || broken("its first directory is not in the file");
        let big = number(2, 2).ok_or_else(end)? == 43;
        if big && number(4, 4) != Some(if big_endian { 0x0008_0000 } else { 8 }) {
            return Err(broken("its offsets do not have 8 bytes"));
        }
        let (length, size) = if big { (8, 20) } else { (2, 12) };
        let at = if big { number(8, 8) } else { number(4, 4) }.ok_or_else(end)?;
        let count = number(at, length).ok_or_else(end)?;
        let bytes = count.checked_mul(size).ok_or_else(end)?;
        let first = at.checked_add(length).ok_or_else(end)?;
        let entries = slice(body, first, bytes).ok_or_else(end)?;
        let next = first.checked_add(bytes).and_then(|at| number(at, if big { 8 } else { 4 }));
        Ok(Directory { body, at, big_endian, big, entries, has_next: next.is_some_and(|next| next != 0) })
    }

    /// Returns the values of a tag, or `None` if the directory does not contain it.
    pub(super) fn find(&self, tag: u16) -> Result<Option<Values<'a>>, Rejected> {
        let number = |bytes| integer(bytes, self.big_endian).unwrap_or_default();
        let (size, field) = if self.big { (20, 8) } else { (12, 4) };
        let mut entries = self.entries.chunks_exact(size).filter(|entry| number(&entry[..2]) == u64::from(tag));
        let Some(entry) = entries.next() else { return Ok(None) };
        // libtiff takes the first, and other readers take the last.
        if entries.any(|other| other != entry) {
            return Err(broken(format!("tag {tag} is there twice, with different values")));
        }
        let kind = number(&entry[2..4]) as u16;
        let width = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => return Err(broken(format!("tag {tag} has values of the unknown type {kind}"))),
        };
        let count = number(&entry[4..4 + field]);
        let bytes = count.checked_mul(width).filter(|&bytes| bytes > 0);
        let bytes = bytes.ok_or_else(|| broken(format!("tag {tag} has {count} values")))?;
        let bytes = if bytes <= field as u64 {
            slice(entry, 4 + field as u64, bytes)
        } else {
            slice(self.body, number(&entry[4 + field..]), bytes)
        };
        let bytes = bytes.ok_or_else(|| broken(format!("the values of tag {tag} are not in the file")))?;
        Ok(Some(Values { tag, kind, big_endian: self.big_endian, bytes, count: bytes.len() / width as usize }))
    }

    /// Returns true if the values of a tag begin in the file, and end after it: the file is cut off.
    pub(super) fn is_cut_off(&self, tag: u16) -> bool {
        let number = |bytes| integer(bytes, self.big_endian).unwrap_or_default();
        let (size, field) = if self.big { (20, 8) } else { (12, 4) };
        let entry = self.entries.chunks_exact(size).find(|entry| number(&entry[..2]) == u64::from(tag));
        entry.is_some_and(|entry| {
            let (count, start) = (number(&entry[4..4 + field]), number(&entry[4 + field..]));
            let length = self.body.len() as u64;
            count > field as u64 && start < length && start.saturating_add(count) > length
        })
    }

    /// Returns the number of the orientation, or 0 if it is not valid. `None` if the directory does not contain it.
    pub(super) fn orientation(&self) -> Option<u8> {
        let Directory { body: file, at, big_endian, big, .. } = *self;
        exif::Directory { file, at, big_endian, big }.orientation()
    }

    /// Returns the first value of a tag.
    pub(super) fn optional(&self, tag: u16) -> Result<Option<u64>, Rejected> {
        self.find(tag)?.map(|values| values.integer(0)).transpose()
    }

    /// Returns the first value of a tag, or the default value.
    pub(super) fn number(&self, tag: u16, default: u64) -> Result<u64, Rejected> {
        Ok(self.optional(tag)?.unwrap_or(default))
    }

    /// Returns the bytes of the file in this range, shortened to its end.
    pub(super) fn bytes(&self, at: u64, length: u64) -> &'a [u8] {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = self.body.get(at..).unwrap_or_default();
        &rest[..rest.len().min(usize::try_from(length).unwrap_or(usize::MAX))]
    }
}

impl Values<'_> {
    /// Returns the value at this index.
    pub(super) fn integer(&self, index: usize) -> Result<u64, Rejected> {
        let value = match self.kind {
            1 | 3 | 4 | 13 | 16 | 18 => self.element(index),
            _ => return Err(broken(format!("tag {} does not have integer values", self.tag))),
        };
        value.and_then(|bytes| integer(bytes, self.big_endian)).ok_or_else(|| self.too_few())
    }

    /// Returns the value at this index, an integer or a fraction.
    pub(super) fn fraction(&self, index: usize) -> Result<f32, Rejected> {
        if self.kind != 5 {
            return Ok(self.integer(index)? as f32);
        }
        let (numerator, denominator) = self.element(index).ok_or_else(|| self.too_few())?.split_at(4);
        let number = |bytes| integer(bytes, self.big_endian).unwrap_or_default() as f32;
        let value = number(numerator) / number(denominator);
        if value.is_finite() { Ok(value) } else { Err(broken(format!("tag {} is divided by 0", self.tag))) }
    }

    fn element(&self, index: usize) -> Option<&[u8]> {
        let width = self.bytes.len() / self.count;
        self.bytes.chunks_exact(width).nth(index)
    }

    fn too_few(&self) -> Rejected {
        broken(format!("tag {} has only {} values", self.tag, self.count))
    }
}

fn slice(bytes: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(usize::try_from(length).ok()?)?)
}
