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
        for (two, rows) in restored(pixels).into_iter().enumerate() {
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
        for (two, rows) in restored(pixels).into_iter().enumerate() {
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
    let zero = L::splat_u8(0);
    let eight = rows.map(|two| two.low_u8(two.high_i64(zero)));
    let four = [0, 1, 2, 3].map(|row| [eight[row].low_u8(eight[row + 4]), eight[row].high_u8(eight[row + 4])]);
    let pairs = |half: usize| {
        let two = [0, 1].map(|row| {
            let (first, second) = (four[row][half], four[row + 2][half]);
            [first.low_u8(second), first.high_u8(second)]
        });
        [0, 1].map(|half| [two[0][half].low_u8(two[1][half]), two[0][half].high_u8(two[1][half])])
    };
    let ([[a, b], [c, d]], [[e, f], [g, h]]) = (pairs(0), pairs(1));
    [a, b, c, d, e, f, g, h]
}

/// Transposes 8 columns of 16 pixels. Each vector of the result has two rows.
#[inline(always)]
fn restored<L: Lanes>(columns: Across<L>) -> [L; 8] {
    let four = [0, 1, 2, 3].map(|column| {
        let (first, second) = (columns[column], columns[column + 4]);
        [first.low_u8(second), first.high_u8(second)]
    });
    let quarter = |half: usize| {
        let two = [0, 1].map(|column| {
            let (first, second) = (four[column][half], four[column + 2][half]);
            [first.low_u8(second), first.high_u8(second)]
        });
        [0, 1].map(|half| [two[0][half].low_u8(two[1][half]), two[0][half].high_u8(two[1][half])])
    };
    let ([[a, b], [c, d]], [[e, f], [g, h]]) = (quarter(0), quarter(1));
    [a, b, c, d, e, f, g, h]
}
