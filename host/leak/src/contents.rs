//! Changes what a decoder makes of an input, not only its bytes: pixels, numbers, letters. A cache whose key is the decoded
//! input grows with each of these variants, as it does in production.
//!
//! | input | what changes |
//! | --- | --- |
//! | PNG | pixels of the last rows, or the palette (`png`) |
//! | JPEG | the tables by which its frequencies are multiplied |
//! | GIF | the colours |
//! | text | the last digits of numbers, or letters in words |
//! | anything else | single bits of the second half |
//! | tensors | the lowest bits of 32 elements |
//!
//! All variants of an input have the same length, but not always that of the input itself.

mod pattern;
mod png;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::pattern::{pattern, xor};
use self::png::Chunk;
use super::corpus::{Feed, Sample};
use plimsoll_runtime::tensor::Tensor;

/// Places that change at most: one for each bit of a number.
const PLACES: usize = 32;
/// Letters and digits that change at most.
const LETTERS: usize = 8;
/// Frequencies of a JPEG that change, the lowest first, and values that each of them can have; the first one can have more.
const FREQUENCIES: usize = 12;
const VALUES: u8 = 4;
const FIRST_VALUES: u8 = 8;
/// Bytes at the end of a file that are not changed: a checksum may be there.
const KEPT_AT_END: usize = 16;

/// How an input is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A chunk of a PNG.
    Png(Chunk),
    /// Bytes that can have any value.
    Free(Range<usize>),
    /// Bytes with the values that each can have.
    Chosen(Vec<(usize, Vec<u8>)>),
    /// The tensor with this index: the lowest bits of the bytes at these places.
    Tensor(usize, Vec<usize>),
}

/// The changes to try for a sample, the best first.
pub(super) fn candidates(sample: &Sample) -> Vec<Content> {
    let tensors = match &sample.feed {
        Feed::Body(body) => return of_body(body),
        Feed::Inputs(tensors) | Feed::Outputs(tensors, _) => tensors,
        Feed::Bundle(bundle) => &bundle.tensors,
    };
    let largest = tensors.iter().enumerate().max_by_key(|(_, (_, tensor))| tensor.data.len());
    let lowest = largest.and_then(|(index, (_, tensor))| Some(Content::Tensor(index, elements(tensor)?)));
    lowest.into_iter().collect()
}

/// The lowest bytes of some elements; `None` for strings and for a tensor without elements.
fn elements(tensor: &Tensor) -> Option<Vec<usize>> {
    let size = tensor.ty.size()?;
    let places: Vec<usize> = spread(0..tensor.data.len() / size).map(|element| element * size).collect();
    (!places.is_empty()).then_some(places)
}

fn of_body(body: &[u8]) -> Vec<Content> {
    let mut found = Vec::new();
    match body {
        [0x89, b'P', b'N', b'G', ..] => found.extend(png::chunk(body).map(Content::Png)),
        [0xFF, 0xD8, 0xFF, ..] => found.push(Content::Chosen(frequencies(body))),
        // The table of colours comes after the header, if there is one for all frames.
        [b'G', b'I', b'F', b'8', ..] => {
            let flags = body.get(10).copied().unwrap_or(0);
            found.extend((flags & 0x80 != 0).then(|| Content::Free(13..13 + 3 * (2 << (flags & 7)))));
        }
        _ if std::str::from_utf8(body).is_ok() => {
            found.push(Content::Chosen(last_digits(body)));
            found.push(Content::Chosen(inner_letters(body)));
        }
        _ => {}
    }
    let bits = spread(body.len() / 2..body.len().saturating_sub(KEPT_AT_END));
    found.push(Content::Chosen(bits.map(|at| (at, vec![body[at], body[at] ^ 1])).collect()));
    found.retain(|content| match content {
        Content::Chosen(places) => !places.is_empty(),
        Content::Free(range) => range.end <= body.len(),
        Content::Png(_) | Content::Tensor(..) => true,
    });
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
                    found.push((place, (0..count).map(|more| body[place].saturating_add(more)).collect()));
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

/// The last digits of the last numbers of a text; a number stays as long as it is.
fn last_digits(body: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let is_digit = |at: usize| body.get(at).is_some_and(u8::is_ascii_digit);
    let is_last = |at: &usize| is_digit(*at) && body[*at] != b'0' && !is_digit(at + 1);
    let places = (0..body.len()).rev().filter(is_last).take(LETTERS);
    places.map(|at| (at, (b'1'..=b'9').collect())).collect()
}

/// Letters inside of the last words of a text.
fn inner_letters(body: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let is_letter = |at: usize| body.get(at).is_some_and(u8::is_ascii_lowercase);
    let is_inner = |at: &usize| *at > 0 && [at - 1, *at, at + 1].into_iter().all(is_letter);
    let places = (0..body.len()).rev().filter(is_inner).take(LETTERS);
    places.map(|at| (at, (b'a'..=b'z').collect())).collect()
}

impl Content {
    /// The variant of a sample with a number. Two numbers give different contents, as far as there are so many.
    pub(super) fn change(&self, sample: &Sample, number: u32) -> Sample {
        let mut changed = sample.clone();
        match (self, &mut changed.feed) {
            (Self::Png(chunk), Feed::Body(body)) => *body = chunk.with(pattern(number)),
            (Self::Free(range), Feed::Body(body)) => xor(&mut body[range.clone()], pattern(number)),
            (Self::Chosen(places), Feed::Body(body)) => {
                let mut rest = number as usize;
                for (at, values) in places {
                    body[*at] = values[rest % values.len()];
                    rest /= values.len();
                }
            }
            (Self::Tensor(index, places), Feed::Inputs(tensors) | Feed::Outputs(tensors, _)) => {
                change_tensor(&mut tensors[*index].1, places, number);
            }
            (Self::Tensor(index, places), Feed::Bundle(bundle)) => {
                change_tensor(&mut bundle.tensors[*index].1, places, number);
            }
            _ => {}
        }
        changed
    }
}

fn change_tensor(tensor: &mut Tensor, places: &[usize], number: u32) {
    let mut data = tensor.data.to_vec();
    for (bit, &at) in places.iter().enumerate() {
        data[at] ^= (number >> bit & 1) as u8;
    }
    *tensor = Tensor::new(tensor.dimensions.clone(), tensor.ty, data);
}
