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
#[inline(always)]
pub(crate) fn accumulate<L: Lanes>(rows: &[u8], stride: usize, weights: &[i16], sums: &mut [i32], begin: bool) {
    let zero = L::splat_i32(0);
    let (pairs, odd) = weights.as_chunks::<2>();
    let sixteen = |at: usize| -> L { L::load_u8(rows[at..].first_chunk().expect("a row is as long as the sums")) };
    let (blocks, rest) = sums.as_chunks_mut::<16>();
    let tail = 16 * blocks.len();
    for (block, sums) in blocks.iter_mut().enumerate() {
        let sums = sums.as_chunks_mut::<4>().0;
        let mut lanes = [zero; 4];
        if !begin {
            lanes = [L::load_i32(&sums[0]), L::load_i32(&sums[1]), L::load_i32(&sums[2]), L::load_i32(&sums[3])];
        }
        let mut at = 16 * block;
        for &[first, second] in pairs {
            let weights = L::splat_i32(pair(first, second));
            let (above, below) = (sixteen(at), sixteen(at + stride));
            let (low, high) = (above.low_u8(below), above.high_u8(below));
            lanes = [
                lanes[0].add_i32(low.low_u8(zero).dot(weights)),
                lanes[1].add_i32(low.high_u8(zero).dot(weights)),
                lanes[2].add_i32(high.low_u8(zero).dot(weights)),
                lanes[3].add_i32(high.high_u8(zero).dot(weights)),
            ];
            at += 2 * stride;
        }
        if let [last] = odd {
            let weights = L::splat_i32(pair(*last, 0));
            let row = sixteen(at);
            let (low, high) = (row.low_u8(zero), row.high_u8(zero));
            lanes = [
                lanes[0].add_i32(low.low_i16(zero).dot(weights)),
                lanes[1].add_i32(low.high_i16(zero).dot(weights)),
                lanes[2].add_i32(high.low_i16(zero).dot(weights)),
                lanes[3].add_i32(high.high_i16(zero).dot(weights)),
            ];
        }
        for (lane, sums) in lanes.into_iter().zip(sums) {
            lane.store_i32(sums);
        }
    }
    for (at, sum) in (tail..).zip(rest) {
        let column = rows[at..].iter().step_by(stride);
        let added: i32 = column.zip(weights).map(|(&sample, &weight)| i32::from(sample) * i32::from(weight)).sum();
        *sum = if begin { added } else { *sum + added };
    }
}

/// The sums of the vertical filter as samples with [`FRACTION`] bits.
#[inline(always)]
pub(crate) fn narrow<L: Lanes>(sums: &[i32], samples: &mut [i16]) {
    const DROPPED: u32 = ONE.trailing_zeros() - FRACTION;
    let half = L::splat_i32(1 << (DROPPED - 1));
    let (blocks, rest) = sums.as_chunks::<8>();
    let (out, out_rest) = samples.as_chunks_mut::<8>();
    for (sums, samples) in blocks.iter().zip(out) {
        let [low, high] = sums.as_chunks::<4>().0 else { unreachable!("eight are twice four") };
        let rounded = |sums: &[i32; 4]| L::load_i32(sums).add_i32(half).shift_right_i32::<DROPPED>();
        rounded(low).narrow_i32(rounded(high)).store_i16(samples);
    }
    for (sum, sample) in rest.iter().zip(out_rest) {
        *sample = ((sum + (1 << (DROPPED - 1))) >> DROPPED) as i16;
    }
}

/// A row through the horizontal filter. `row` must go on for a window's span after its last sample, with whatever
/// numbers: their weights are 0. `out` has a place for every window, rounded up to a multiple of four.
#[inline(always)]
pub(crate) fn across<L: Lanes>(row: &[i16], windows: &Windows, out: &mut [f32]) {
    let span = windows.span();
    let count = windows.count();
    let one = |window: usize| -> L {
        // The places that round the number up show the last window once more.
        let window = window.min(count - 1);
        let samples = row[windows.start(window)..][..span].as_chunks::<8>().0;
        let weights = windows.weights(window).as_chunks::<8>().0;
        let mut sum = L::load_i16(&samples[0]).dot(L::load_i16(&weights[0]));
        for (samples, weights) in samples.iter().zip(weights).skip(1) {
            sum = sum.add_i32(L::load_i16(samples).dot(L::load_i16(weights)));
        }
        sum
    };
    for (four, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let (a, b, c, d) = (one(4 * four), one(4 * four + 1), one(4 * four + 2), one(4 * four + 3));
        let (ab, cd) = (a.low_i32(b).add_i32(a.high_i32(b)), c.low_i32(d).add_i32(c.high_i32(d)));
        *out = ab.low_i64(cd).add_i32(ab.high_i64(cd)).scaled(UNIT);
    }
}
