//! Markers and segments (ITU-T T.81, B.1.1), and the search for the next marker.

use crate::lanes::Lanes;

/// Returns the next marker at or after `at` and its segment. Moves `at` to the byte after the segment. `None` at the end
/// of the body.
pub(super) fn next_segment<'a>(body: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    loop {
        // Skip fill bytes and other bytes that are not part of a marker.
        while *body.get(*at)? != 0xFF || matches!(body.get(*at + 1)?, 0x00 | 0xFF) {
            *at += 1;
        }
        let marker = body[*at + 1];
        *at += 2;
        match marker {
            0x01 | 0xD0..=0xD7 => {}
            0xD8 | 0xD9 => return Some((marker, &[])),
            _ => {
                let length = usize::from(u16::from_be_bytes(*body.get(*at..)?.first_chunk()?));
                let segment = body.get(*at + 2..*at + length)?;
                *at += length;
                return Some((marker, segment));
            }
        }
    }
}

/// Skips bytes up to the next marker; empty if there is none.
pub(super) fn skip_to_marker<L: Lanes>(data: &[u8]) -> &[u8] {
    skip::<L>(data, |marker| !matches!(marker, 0x00 | 0xFF))
}

/// Skips the coded data of a scan, including its restart markers. Returns the data after the scan.
pub(super) fn skip_coded_data<L: Lanes>(data: &[u8]) -> &[u8] {
    skip::<L>(data, |marker| !matches!(marker, 0x00 | 0xFF | 0xD0..=0xD7))
}

/// Skips bytes up to 0xFF with a byte after it for which `found` is true.
fn skip<L: Lanes>(mut data: &[u8], found: impl Fn(u8) -> bool) -> &[u8] {
    loop {
        while let Some(sixteen) = data.first_chunk::<16>()
            && L::load_u8(sixteen).ff_mask() == 0
        {
            data = &data[16..];
        }
        match data {
            [] | [0xFF] => return &[],
            [0xFF, marker, ..] if found(*marker) => return data,
            [_, rest @ ..] => data = rest,
        }
    }
}
