//! The colours of a GIF: one table for all frames, and tables of single frames.

use std::ops::Range;

/// Bytes before the table for all frames, and the place of its flags.
const HEADER: usize = 13;
const FLAGS: usize = 10;
/// Bytes of the head of a frame, and the place of its flags.
const FRAME: usize = 10;
const FRAME_FLAGS: usize = 9;

/// Where the tables are that are whole.
pub(super) fn colours(body: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = HEADER;
    add(&mut found, &mut at, body.get(FLAGS));
    while let Some(kind) = body.get(at) {
        match kind {
            // An extension: its kind, then blocks of data.
            0x21 => at += 2,
            // A frame: its head, its table, the size of its codes, then blocks of data.
            0x2C => {
                let flags = body.get(at + FRAME_FLAGS);
                at += FRAME;
                add(&mut found, &mut at, flags);
                at += 1;
            }
            _ => break,
        }
        while let Some(&length) = body.get(at) {
            at += 1 + usize::from(length);
            if length == 0 {
                break;
            }
        }
    }
    found.retain(|range| range.end <= body.len());
    found
}

/// Adds the table at a place, if the flags say that there is one.
fn add(found: &mut Vec<Range<usize>>, at: &mut usize, flags: Option<&u8>) {
    if let Some(flags) = flags.filter(|flags| **flags & 0x80 != 0) {
        let end = *at + 3 * (2 << (flags & 7));
        found.push(*at..end);
        *at = end;
    }
}
