//! Changes what a decoder makes of an input, not only its bytes: pixels, numbers, letters. A cache whose key is the decoded
//! input grows with each of these variants, as it does in production.
//!
//! | input | what changes |
//! | --- | --- |
//! | PNG | pixels of the last rows, or the palette (`png`) |
//! | JPEG | the tables by which its frequencies are multiplied |
//! | GIF | the colours (`gif`) |
//! | text | digits of numbers and letters in words; in a short text some are inserted (`text`) |
//! | anything else | single bits of the second half |
//! | tensors | the lowest bits of 32 elements |
//!
//! All variants of an input have the same length, but not always that of the input itself.

mod content;
mod gif;
mod pattern;
mod png;
#[cfg(test)]
mod tests;
mod text;

use std::ops::Range;

pub(super) use self::content::Content;
use super::corpus::{Feed, Sample};
use plimsoll_runtime::tensor::Tensor;

/// Places that change at most: one for each bit of a number.
const PLACES: usize = 32;
/// Frequencies of a JPEG that change, the lowest first, and values that each of them can have; the first one can have more.
const FREQUENCIES: usize = 12;
const VALUES: u8 = 4;
const FIRST_VALUES: u8 = 8;
/// Bytes at the end of a file that are not changed: a checksum may be there. Bytes at the beginning of a short one, which
/// may be a mark of its kind.
const KEPT_AT_END: usize = 16;
const KEPT_AT_START: usize = 4;

/// The changes to try for a sample, the best first. Those that give few contents come last.
pub(super) fn candidates(sample: &Sample) -> Vec<Content> {
    let tensors = match &sample.feed {
        Feed::Body(body) => return of_body(body),
        Feed::Inputs(tensors) | Feed::Outputs(tensors, _) => tensors,
        Feed::Bundle(bundle) => &bundle.tensors,
    };
    let largest = tensors.iter().enumerate().max_by_key(|(_, (_, tensor))| tensor.data.len());
    largest.and_then(|(index, (_, tensor))| elements(index, tensor)).into_iter().collect()
}

/// The lowest bits of some elements, of few elements more bits; `None` for strings and for a tensor without elements.
fn elements(index: usize, tensor: &Tensor) -> Option<Content> {
    let size = tensor.ty.size()?;
    let places: Vec<usize> = spread(0..tensor.data.len() / size).map(|element| element * size).collect();
    let bits = PLACES.checked_div(places.len())?.clamp(1, 8);
    Some(Content::Tensor(index, places, bits as u32))
}

fn of_body(body: &[u8]) -> Vec<Content> {
    let mut found = Vec::new();
    match body {
        [0x89, b'P', b'N', b'G', ..] => found.extend(png::chunk(body).map(Content::Png)),
        [0xFF, 0xD8, 0xFF, ..] => found.push(Content::Chosen(frequencies(body))),
        [b'G', b'I', b'F', b'8', ..] => found.push(Content::Free(gif::colours(body))),
        _ if std::str::from_utf8(body).is_ok() => found.extend(text::candidates(body)),
        _ => {}
    }
    for range in [body.len() / 2..body.len().saturating_sub(KEPT_AT_END), KEPT_AT_START..body.len()] {
        found.push(Content::Chosen(spread(range).map(|at| (at, vec![body[at], body[at] ^ 1])).collect()));
    }
    found.retain(|content| content.count() > 1);
    found.sort_by_key(|content| !content.has_many());
    found
}

/// Some numbers of a range, at equal distances.
fn spread(range: Range<usize>) -> impl Iterator<Item = usize> {
    let step = range.len().div_ceil(PLACES).max(1);
    range.step_by(step)
}

/// The lowest frequencies in the tables of a JPEG whose values have one byte.
fn frequencies(body: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 2;
    // A segment: 0xFF, its kind, its length without these two bytes. The image comes after the segment 0xDA.
    while let Some(&[0xFF, kind, high, low]) = body.get(at..at + 4) {
        let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
        let mut table = at + 4;
        while kind == 0xDB && table < end {
            let size = if body.get(table).is_some_and(|head| head >> 4 == 0) { 64 } else { 128 };
            if size == 64 {
                for (number, place) in (table + 1..(table + 1 + FREQUENCIES).min(body.len())).enumerate() {
                    let count = if number == 0 { FIRST_VALUES } else { VALUES };
                    let count = count.min(u8::MAX - body[place]).max(1);
                    found.push((place, (0..count).map(|more| body[place] + more).collect()));
                }
            }
            table += 1 + size;
        }
        if kind == 0xDA || end <= at + 2 {
            break;
        }
        at = end;
    }
    found
}
