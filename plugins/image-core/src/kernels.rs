//! The two passes of resizing, generic over [`Lanes`]. Both use integer arithmetic, so the result is bit-identical in
//! every build.

use crate::lanes::Lanes;
use crate::windows::{ONE, Windows};

/// The fraction bits of a sample between the passes. With its eight integer bits, a sample fills 15 bits.
pub(crate) const FRACTION: u32 = 7;

/// The factor that converts a sum of the horizontal pass to a sample.
const UNIT: f32 = 1.0 / (ONE as f32 * (1 << FRACTION) as f32);

fn pair(first: i16, second: i16) -> i32 {
    i32::from(first as u16) | i32::from(second) << 16
}

/// The vertical filter: adds to `sums` the weighted sum of as many rows as there are weights. If `begin` is true,
/// `sums` is overwritten instead. The rows start `stride` bytes apart.
pub(crate) fn accumulate<L: Lanes>(rows: &[u8], stride: usize, weights: &[i16], sums: &mut [i32], begin: bool) {
    let mut begin = begin;
    for (group, weights) in weights.chunks(8).enumerate() {
        let rows = &rows[8 * group * stride..];
        // If the number of rows is a constant, there is no loop over them, as in `filter_row`.
        match weights.len() {
            1 => accumulate_rows::<L, 1>(rows, stride, weights, sums, begin),
            2 => accumulate_rows::<L, 2>(rows, stride, weights, sums, begin),
            3 => accumulate_rows::<L, 3>(rows, stride, weights, sums, begin),
            4 => accumulate_rows::<L, 4>(rows, stride, weights, sums, begin),
            5 => accumulate_rows::<L, 5>(rows, stride, weights, sums, begin),
            6 => accumulate_rows::<L, 6>(rows, stride, weights, sums, begin),
            7 => accumulate_rows::<L, 7>(rows, stride, weights, sums, begin),
            _ => accumulate_rows::<L, 8>(rows, stride, weights, sums, begin),
        }
        begin = false;
    }
}

// Not inlined, and neither is `narrow`, so that the registers are allocated for each function separately.
#[inline(never)]
fn accumulate_rows<L: Lanes, const ROWS: usize>(
    rows: &[u8],
    stride: usize,
    weights: &[i16],
    sums: &mut [i32],
    begin: bool,
) {
    let zero = L::splat_i32(0);
    let width = sums.len();
    let weight = |row: usize| if row < ROWS { weights[row] } else { 0 };
    let pairs: [L; 4] = std::array::from_fn(|row| L::splat_i32(pair(weight(2 * row), weight(2 * row + 1))));
    let (blocks, rest) = sums.as_chunks_mut::<16>();
    let count = blocks.len();
    let chunks: [&[[u8; 16]]; ROWS] =
        std::array::from_fn(|row| &rows[row * stride..][..width].as_chunks::<16>().0[..count]);
    for (block, sums) in blocks.iter_mut().enumerate() {
        let sums = sums.as_chunks_mut::<4>().0;
        let mut lanes = [zero; 4];
        if !begin {
            lanes = [L::load_i32(&sums[0]), L::load_i32(&sums[1]), L::load_i32(&sums[2]), L::load_i32(&sums[3])];
        }
        // Unrolled by hand, because for WebAssembly the compiler keeps a loop here, with its sums in memory.
        lanes = add_two_rows::<L, ROWS, 0>(lanes, &chunks, block, pairs[0]);
        lanes = add_two_rows::<L, ROWS, 2>(lanes, &chunks, block, pairs[1]);
        lanes = add_two_rows::<L, ROWS, 4>(lanes, &chunks, block, pairs[2]);
        lanes = add_two_rows::<L, ROWS, 6>(lanes, &chunks, block, pairs[3]);
        for (lane, sums) in lanes.into_iter().zip(sums) {
            lane.store_i32(sums);
        }
    }
    for (at, sum) in (16 * count..).zip(rest) {
        let column = rows[at..].iter().step_by(stride);
        let added: i32 = column.zip(weights).map(|(&sample, &weight)| i32::from(sample) * i32::from(weight)).sum();
        *sum = if begin { added } else { *sum + added };
    }
}

/// Adds the rows `ROW` and `ROW + 1` to the sums, if they exist.
#[inline(always)]
fn add_two_rows<L: Lanes, const ROWS: usize, const ROW: usize>(
    sums: [L; 4],
    chunks: &[&[[u8; 16]]; ROWS],
    block: usize,
    weights: L,
) -> [L; 4] {
    if ROW >= ROWS {
        return sums;
    }
    let zero = L::splat_i32(0);
    let above = L::load_u8(&chunks[ROW][block]);
    let below = if ROW + 1 < ROWS { L::load_u8(&chunks[ROW + 1][block]) } else { zero };
    let (low, high) = (above.low_u8(below), above.high_u8(below));
    [
        sums[0].add_i32(low.low_u8(zero).dot(weights)),
        sums[1].add_i32(low.high_u8(zero).dot(weights)),
        sums[2].add_i32(high.low_u8(zero).dot(weights)),
        sums[3].add_i32(high.high_u8(zero).dot(weights)),
    ]
}

/// Converts the sums of the vertical filter to samples with [`FRACTION`] fraction bits.
#[inline(never)]
pub(crate) fn narrow<L: Lanes>(sums: &[i32], samples: &mut [i16]) {
    const DROPPED: u32 = ONE.trailing_zeros() - FRACTION;
    let half = L::splat_i32(1 << (DROPPED - 1));
    let (blocks, rest) = sums.as_chunks::<16>();
    let (out, out_rest) = samples.as_chunks_mut::<16>();
    for (sums, samples) in blocks.iter().zip(out) {
        let rounded = |sums: &[i32; 4]| L::load_i32(sums).add_i32(half).shift_right_i32::<DROPPED>();
        for (sums, samples) in sums.as_chunks::<8>().0.iter().zip(samples.as_chunks_mut::<8>().0) {
            let [low, high] = sums.as_chunks::<4>().0 else { unreachable!("eight is twice four") };
            rounded(low).narrow_i32(rounded(high)).store_i16(samples);
        }
    }
    for (sum, sample) in rest.iter().zip(out_rest) {
        *sample = ((sum + (1 << (DROPPED - 1))) >> DROPPED) as i16;
    }
}

/// The horizontal filter for one row. `row` must continue for a window's span after its last sample; the values there
/// do not matter, because their weights are 0. `out` has one element for each window, rounded up to a multiple of four.
pub(crate) fn filter_row<L: Lanes>(row: &[i16], windows: &Windows, out: &mut [f32]) {
    // If the number of vectors is a constant, there is no loop over them. This saves time, because compiled WebAssembly
    // checks its deadline in every iteration of a loop.
    match windows.span() / 8 {
        1 => filter_row_with(windows, out, |start, weights| window_sum::<L, 1>(row, start, weights)),
        2 => filter_row_with(windows, out, |start, weights| window_sum::<L, 2>(row, start, weights)),
        3 => filter_row_with(windows, out, |start, weights| window_sum::<L, 3>(row, start, weights)),
        4 => filter_row_with(windows, out, |start, weights| window_sum::<L, 4>(row, start, weights)),
        5 => filter_row_with(windows, out, |start, weights| window_sum::<L, 5>(row, start, weights)),
        _ => filter_row_with(windows, out, |start, weights| {
            let samples = row[start as usize..][..weights.len()].as_chunks::<8>().0;
            let mut sum = L::splat_i32(0);
            for (samples, weights) in samples.iter().zip(weights.as_chunks::<8>().0) {
                sum = sum.add_i32(L::load_i16(samples).dot(L::load_i16(weights)));
            }
            sum
        }),
    }
}

/// The sum of a window of `VECTORS` vectors of eight samples, as four partial sums.
#[inline(always)]
fn window_sum<L: Lanes, const VECTORS: usize>(row: &[i16], start: u32, weights: &[i16]) -> L {
    let samples = row[start as usize..][..8 * VECTORS].as_chunks::<8>().0;
    let weights = weights[..8 * VECTORS].as_chunks::<8>().0;
    let product = |vector: usize| L::load_i16(&samples[vector]).dot(L::load_i16(&weights[vector]));
    let mut sum = product(0);
    for vector in 1..VECTORS {
        sum = sum.add_i32(product(vector));
    }
    sum
}

/// Filters every window with `one`, which gets the first sample and the weights of a window and returns four partial
/// sums.
#[inline(always)]
fn filter_row_with<L: Lanes>(windows: &Windows, out: &mut [f32], one: impl Fn(u32, &[i16]) -> L) {
    let span = windows.span();
    for ((starts, weights), out) in windows.groups_of_four().zip(out.as_chunks_mut::<4>().0) {
        let one = |window: usize| one(starts[window], &weights[window * span..][..span]);
        let (a, b, c, d) = (one(0), one(1), one(2), one(3));
        let (ab, cd) = (a.low_i32(b).add_i32(a.high_i32(b)), c.low_i32(d).add_i32(c.high_i32(d)));
        *out = ab.low_i64(cd).add_i32(ab.high_i64(cd)).scaled(UNIT);
    }
}
