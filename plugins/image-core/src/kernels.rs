//! The two passes of resizing, over any [`Lanes`]. Both compute in whole numbers, so every build gives the same bits.

use crate::lanes::Lanes;
use crate::windows::{ONE, Windows};

/// The fraction bits that a sample has between the passes: with eight before the point it fills 15 bits.
pub(crate) const FRACTION: u32 = 7;

/// The factor that makes a sample of the result of the horizontal pass.
const UNIT: f32 = 1.0 / (ONE as f32 * (1 << FRACTION) as f32);

fn pair(first: i16, second: i16) -> i32 {
    i32::from(first as u16) | i32::from(second) << 16
}

/// Rows through the vertical filter: `sums` gets, or is increased by, the weighted sum of as many rows as there are
/// weights. The rows stand `stride` bytes apart.
pub(crate) fn accumulate<L: Lanes>(rows: &[u8], stride: usize, weights: &[i16], sums: &mut [i32], begin: bool) {
    let mut begin = begin;
    for (some, weights) in weights.chunks(8).enumerate() {
        let rows = &rows[8 * some * stride..];
        // Where the number of rows is known, there is no loop over them, as in `across`.
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

// Not inlined, nor is `narrow`: so each gets registers of its own.
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
    let sixteens: [&[[u8; 16]]; ROWS] =
        std::array::from_fn(|row| &rows[row * stride..][..width].as_chunks::<16>().0[..count]);
    for (block, sums) in blocks.iter_mut().enumerate() {
        let sums = sums.as_chunks_mut::<4>().0;
        let mut lanes = [zero; 4];
        if !begin {
            lanes = [L::load_i32(&sums[0]), L::load_i32(&sums[1]), L::load_i32(&sums[2]), L::load_i32(&sums[3])];
        }
        // Written out, for the compiler leaves a loop over them in WebAssembly, with its sums in memory.
        lanes = two_rows::<L, ROWS, 0>(lanes, &sixteens, block, pairs[0]);
        lanes = two_rows::<L, ROWS, 2>(lanes, &sixteens, block, pairs[1]);
        lanes = two_rows::<L, ROWS, 4>(lanes, &sixteens, block, pairs[2]);
        lanes = two_rows::<L, ROWS, 6>(lanes, &sixteens, block, pairs[3]);
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

/// The sums with two rows more, the first being `ROW`, where there are so many.
#[inline(always)]
fn two_rows<L: Lanes, const ROWS: usize, const ROW: usize>(
    sums: [L; 4],
    sixteens: &[&[[u8; 16]]; ROWS],
    block: usize,
    weights: L,
) -> [L; 4] {
    if ROW >= ROWS {
        return sums;
    }
    let zero = L::splat_i32(0);
    let above = L::load_u8(&sixteens[ROW][block]);
    let below = if ROW + 1 < ROWS { L::load_u8(&sixteens[ROW + 1][block]) } else { zero };
    let (low, high) = (above.low_u8(below), above.high_u8(below));
    [
        sums[0].add_i32(low.low_u8(zero).dot(weights)),
        sums[1].add_i32(low.high_u8(zero).dot(weights)),
        sums[2].add_i32(high.low_u8(zero).dot(weights)),
        sums[3].add_i32(high.high_u8(zero).dot(weights)),
    ]
}

/// The sums of the vertical filter as samples with [`FRACTION`] bits.
#[inline(never)]
pub(crate) fn narrow<L: Lanes>(sums: &[i32], samples: &mut [i16]) {
    const DROPPED: u32 = ONE.trailing_zeros() - FRACTION;
    let half = L::splat_i32(1 << (DROPPED - 1));
    let (blocks, rest) = sums.as_chunks::<16>();
    let (out, out_rest) = samples.as_chunks_mut::<16>();
    for (sums, samples) in blocks.iter().zip(out) {
        let rounded = |sums: &[i32; 4]| L::load_i32(sums).add_i32(half).shift_right_i32::<DROPPED>();
        for (sums, samples) in sums.as_chunks::<8>().0.iter().zip(samples.as_chunks_mut::<8>().0) {
            let [low, high] = sums.as_chunks::<4>().0 else { unreachable!("eight are twice four") };
            rounded(low).narrow_i32(rounded(high)).store_i16(samples);
        }
    }
    for (sum, sample) in rest.iter().zip(out_rest) {
        *sample = ((sum + (1 << (DROPPED - 1))) >> DROPPED) as i16;
    }
}

/// A row through the horizontal filter. `row` must go on for a window's span after its last sample, with whatever
/// numbers: their weights are 0. `out` has a place for every window, rounded up to a multiple of four.
pub(crate) fn across<L: Lanes>(row: &[i16], windows: &Windows, out: &mut [f32]) {
    // Where the number of vectors is known, there is no loop over them. WebAssembly looks for its deadline at every turn
    // of one.
    match windows.span() / 8 {
        1 => across_by(windows, out, |start, weights| sum_of::<L, 1>(row, start, weights)),
        2 => across_by(windows, out, |start, weights| sum_of::<L, 2>(row, start, weights)),
        3 => across_by(windows, out, |start, weights| sum_of::<L, 3>(row, start, weights)),
        4 => across_by(windows, out, |start, weights| sum_of::<L, 4>(row, start, weights)),
        5 => across_by(windows, out, |start, weights| sum_of::<L, 5>(row, start, weights)),
        _ => across_by(windows, out, |start, weights| {
            let samples = row[start as usize..][..weights.len()].as_chunks::<8>().0;
            let mut sum = L::splat_i32(0);
            for (samples, weights) in samples.iter().zip(weights.as_chunks::<8>().0) {
                sum = sum.add_i32(L::load_i16(samples).dot(L::load_i16(weights)));
            }
            sum
        }),
    }
}

/// The sums of a window of so many vectors of eight, in four parts.
#[inline(always)]
fn sum_of<L: Lanes, const VECTORS: usize>(row: &[i16], start: u32, weights: &[i16]) -> L {
    let samples = row[start as usize..][..8 * VECTORS].as_chunks::<8>().0;
    let weights = weights[..8 * VECTORS].as_chunks::<8>().0;
    let product = |vector: usize| L::load_i16(&samples[vector]).dot(L::load_i16(&weights[vector]));
    let mut sum = product(0);
    for vector in 1..VECTORS {
        sum = sum.add_i32(product(vector));
    }
    sum
}

/// Every window by `one`, which is given its first sample and its weights and gives its sum in four parts.
#[inline(always)]
fn across_by<L: Lanes>(windows: &Windows, out: &mut [f32], one: impl Fn(u32, &[i16]) -> L) {
    let span = windows.span();
    for ((starts, weights), out) in windows.fours().zip(out.as_chunks_mut::<4>().0) {
        let one = |window: usize| one(starts[window], &weights[window * span..][..span]);
        let (a, b, c, d) = (one(0), one(1), one(2), one(3));
        let (ab, cd) = (a.low_i32(b).add_i32(a.high_i32(b)), c.low_i32(d).add_i32(c.high_i32(d)));
        *out = ab.low_i64(cd).add_i32(ab.high_i64(cd)).scaled(UNIT);
    }
}
