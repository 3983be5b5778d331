//! Applies the loop filter to the edges of a macroblock. The lines across an edge are lanes, so a vertical edge is
//! transposed.

use super::filter::{Across, Edge, Strength, filter};
use crate::lanes::Lanes;

/// Filters a horizontal edge of sixteen pixels of a plane. `rows` are the positions of the four rows before the edge and
/// of the four after it.
#[inline(always)]
pub(super) fn horizontal<L: Lanes>(plane: &mut [u8], rows: [usize; 8], edge: Edge, limit: u8, strength: Strength) {
    let mut pixels = rows.map(|at| plane[at..].first_chunk().map_or(L::splat_u8(0), L::load_u8));
    if filter(&mut pixels, edge, limit, strength) {
        for (at, pixels) in rows.into_iter().zip(pixels).skip(1).take(6) {
            if let Some(to) = plane[at..].first_chunk_mut() {
                pixels.store_u8(to);
            }
        }
    }
}

/// Filters a horizontal edge of eight pixels of both chroma planes.
#[inline(always)]
pub(super) fn horizontal_pair<L: Lanes>(
    planes: &mut [Vec<u8>; 2],
    rows: [usize; 8],
    edge: Edge,
    limit: u8,
    strength: Strength,
) {
    let mut pixels = rows.map(|at| two::<L>(&planes[0][at..at + 8], &planes[1][at..at + 8]));
    if filter(&mut pixels, edge, limit, strength) {
        for (at, pixels) in rows.into_iter().zip(pixels).skip(1).take(6) {
            for (plane, half) in planes.iter_mut().zip(pixels.halves()) {
                plane[at..at + 8].copy_from_slice(&half);
            }
        }
    }
}

/// Filters a vertical edge of sixteen pixels. `at` is the position of the first pixel after the edge.
#[inline(always)]
pub(super) fn vertical<L: Lanes>(
    plane: &mut [u8],
    at: usize,
    stride: usize,
    edge: Edge,
    limit: u8,
    strength: Strength,
) {
    let plane = &mut plane[at - 4..][..15 * stride + 8];
    let mut pixels =
        transposed(std::array::from_fn(|row| two::<L>(&plane[row * stride..][..8], &plane[(row + 8) * stride..][..8])));
    if filter(&mut pixels, edge, limit, strength) {
        for (two, rows) in interleaved(pixels).into_iter().enumerate() {
            for (row, pixels) in rows.halves().into_iter().enumerate() {
                plane[(2 * two + row) * stride..][..8].copy_from_slice(&pixels);
            }
        }
    }
}

/// Filters a vertical edge of eight pixels of both chroma planes.
#[inline(always)]
pub(super) fn vertical_pair<L: Lanes>(
    planes: &mut [Vec<u8>; 2],
    at: usize,
    stride: usize,
    edge: Edge,
    limit: u8,
    strength: Strength,
) {
    let [first, second] = planes;
    let [first, second] = [first, second].map(|plane| &mut plane[at - 4..][..7 * stride + 8]);
    let mut pixels =
        transposed(std::array::from_fn(|row| two::<L>(&first[row * stride..][..8], &second[row * stride..][..8])));
    if filter(&mut pixels, edge, limit, strength) {
        for (two, rows) in interleaved(pixels).into_iter().enumerate() {
            let plane = if two < 4 { &mut *first } else { &mut *second };
            for (row, pixels) in rows.halves().into_iter().enumerate() {
                plane[(2 * (two % 4) + row) * stride..][..8].copy_from_slice(&pixels);
            }
        }
    }
}

#[inline(always)]
fn two<L: Lanes>(first: &[u8], second: &[u8]) -> L {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(first);
    bytes[8..].copy_from_slice(second);
    L::load_u8(&bytes)
}

/// Transposes 16 rows of 8 pixels. Each vector has two of them: the one with its number, and eight rows further.
#[inline(always)]
fn transposed<L: Lanes>(rows: [L; 8]) -> Across<L> {
    // Interleaves rows that are 8, 4, 2 and 1 apart. The two rows of a vector are split first.
    let split = |two: L| two.low_u8(two.high_i64(two));
    let [a, b, c, d, e, f, g, h] = rows;
    interleaved([split(a), split(b), split(c), split(d), split(e), split(f), split(g), split(h)])
}

/// Interleaves vectors that are 4 apart, then 2, then 1. This transposes 8 columns of 16 pixels to vectors of two rows.
#[inline(always)]
fn interleaved<L: Lanes>([a, b, c, d, e, f, g, h]: [L; 8]) -> [L; 8] {
    let (a, b, c, d, e, f, g, h) =
        (a.low_u8(e), b.low_u8(f), c.low_u8(g), d.low_u8(h), a.high_u8(e), b.high_u8(f), c.high_u8(g), d.high_u8(h));
    let (a, b, c, d, e, f, g, h) =
        (a.low_u8(c), b.low_u8(d), a.high_u8(c), b.high_u8(d), e.low_u8(g), f.low_u8(h), e.high_u8(g), f.high_u8(h));
    [a.low_u8(b), a.high_u8(b), c.low_u8(d), c.high_u8(d), e.low_u8(f), e.high_u8(f), g.low_u8(h), g.high_u8(h)]
}
