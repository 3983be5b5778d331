//! How an input is changed, and its variants.

use std::ops::Range;

use super::pattern::{pattern, scattered, xor};
use super::png::Chunk;
use crate::corpus::{Feed, Sample};
use crate::rounds::MOST_CALLS;
use plimsoll_runtime::tensor::Tensor;

/// Contents that are enough: different ones in each call of a run with one input.
const MANY: u64 = MOST_CALLS as u64;
/// Digits or letters that are inserted at each place.
const INSERTED: usize = 6;

/// How an input is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A chunk of a PNG.
    Png(Chunk),
    /// Bytes that can have any value.
    Free(Vec<Range<usize>>),
    /// Bytes with the values that each can have.
    Chosen(Vec<(usize, Vec<u8>)>),
    /// Places at which bytes are inserted, the last one first: always the same at a place, then some with these values.
    Inserted(Vec<(usize, &'static [u8])>, &'static [u8]),
    /// The tensor with this index: of the bytes at these places so many of the lowest bits.
    Tensor(usize, Vec<usize>, u32),
}

impl Content {
    /// The number of different contents; at least 2^32 is as good as any.
    pub(crate) fn count(&self) -> u64 {
        let product = |counts: &mut dyn Iterator<Item = usize>| {
            counts.fold(1, |product: u64, count| product.saturating_mul(count as u64)).min(1 << 62)
        };
        match self {
            Self::Png(chunk) => chunk.count(),
            Self::Free(ranges) => 1 << (8 * ranges.iter().map(Range::len).max().unwrap_or(0).min(4)),
            Self::Chosen(places) => product(&mut places.iter().map(|(_, values)| values.len())),
            Self::Inserted(places, values) => {
                product(&mut std::iter::repeat_n(values.len(), if places.is_empty() { 0 } else { INSERTED }))
            }
            Self::Tensor(_, places, bits) => 1 << (places.len() as u32 * bits).min(u32::BITS),
        }
    }

    /// Returns true if each call of a run can have a content of its own.
    pub(crate) fn has_many(&self) -> bool {
        self.count() >= MANY
    }

    /// The variant of a sample with a number. Two numbers give different contents, as far as there are so many.
    pub(crate) fn change(&self, sample: &Sample, number: u32) -> Sample {
        let mut changed = sample.clone();
        match (self, &mut changed.feed) {
            (Self::Png(chunk), Feed::Body(body)) => *body = chunk.with(pattern(number)),
            (Self::Free(ranges), Feed::Body(body)) => {
                ranges.iter().for_each(|range| xor(&mut body[range.clone()], pattern(number)));
            }
            (Self::Chosen(places), Feed::Body(body)) => {
                let mut rest = scattered(number, self.count());
                for (at, values) in places {
                    body[*at] = values[(rest % values.len() as u64) as usize];
                    rest /= values.len() as u64;
                }
            }
            (Self::Inserted(places, values), Feed::Body(body)) => {
                let mut rest = scattered(number, self.count());
                let mut added = Vec::with_capacity(INSERTED);
                for _ in 0..INSERTED {
                    added.push(values[(rest % values.len() as u64) as usize]);
                    rest /= values.len() as u64;
                }
                for &(at, first) in places {
                    drop(body.splice(at..at, first.iter().chain(&added).copied()));
                }
            }
            (Self::Tensor(index, places, bits), Feed::Inputs(tensors) | Feed::Outputs(tensors, _)) => {
                change_tensor(&mut tensors[*index].1, places, *bits, number);
            }
            (Self::Tensor(index, places, bits), Feed::Bundle(bundle)) => {
                change_tensor(&mut bundle.tensors[*index].1, places, *bits, number);
            }
            _ => {}
        }
        changed
    }
}

fn change_tensor(tensor: &mut Tensor, places: &[usize], bits: u32, number: u32) {
    let mut data = tensor.data.to_vec();
    for (index, &at) in places.iter().enumerate() {
        let change = number.checked_shr(index as u32 * bits).unwrap_or(0) & ((1 << bits) - 1);
        data[at] ^= change as u8;
    }
    *tensor = Tensor::new(tensor.dimensions.clone(), tensor.ty, data);
}
