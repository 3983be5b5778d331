//! The horizontal filter: weighted sums of the samples of a row.

use super::FRACTION;
use crate::lanes::Lanes;
use crate::windows::{ONE, Windows};

/// The factor that converts a sum of the horizontal pass to a sample.
pub(super) const UNIT: f32 = 1.0 / (ONE as f32 * (1 << FRACTION) as f32);

/// The horizontal filter for a row of `N` channels, one or three. Each channel must continue for a window's span after
/// its last sample; the values there do not matter, because their weights are 0. `out` has one element for each window,
/// rounded up to a multiple of four.
pub(crate) fn filter_row<L: Lanes, const N: usize>(row: [&[i16]; N], windows: &Windows, out: [&mut [f32]; N]) {
    // If the number of vectors is a constant, there is no loop over them. This saves time, because compiled WebAssembly
    // checks its deadline in every iteration of a loop.
    match windows.span() {
        4 => filter_row_with::<L, N, 4>(row, windows, out),
        8 => filter_row_with::<L, N, 8>(row, windows, out),
        16 => filter_row_with::<L, N, 16>(row, windows, out),
        24 => filter_row_with::<L, N, 24>(row, windows, out),
        32 => filter_row_with::<L, N, 32>(row, windows, out),
        40 => filter_row_with::<L, N, 40>(row, windows, out),
        _ => filter_row_with::<L, N, 0>(row, windows, out),
    }
}

/// Like [`filter_row`], for windows of `SPAN` weights; 0 means any number.
#[inline(never)]
fn filter_row_with<L: Lanes, const N: usize, const SPAN: usize>(
    row: [&[i16]; N],
    windows: &Windows,
    out: [&mut [f32]; N],
) {
    // The same length, so that one check of the bounds is enough for all channels.
    let length = row[0].len();
    let row = row.map(|channel| &channel[..length]);
    let out = out.map(|channel| channel.as_chunks_mut::<4>().0);
    for (group, (starts, weights)) in windows.groups_of_four().enumerate() {
        // Not a loop over the channels, for the reason above. The results are stored last, so that the starts and weights
        // are read and checked once for all channels.
        let starts = starts.map(first_sample);
        let first = four_windows::<L, SPAN>(row[0], starts, weights);
        if N == 3 {
            let second = four_windows::<L, SPAN>(row[1], starts, weights);
            let third = four_windows::<L, SPAN>(row[2], starts, weights);
            out[1][group] = second.scaled(UNIT);
            out[2][group] = third.scaled(UNIT);
        }
        out[0][group] = first.scaled(UNIT);
    }
}

/// The index of a window's first sample. The mask never changes it. It shows the compiler that adding the length of the
/// window does not overflow, which saves a comparison.
#[inline(always)]
pub(super) fn first_sample(start: u32) -> usize {
    (start & (u32::MAX >> 1)) as usize
}

/// The sums of four windows.
#[inline(always)]
pub(super) fn four_windows<L: Lanes, const SPAN: usize>(row: &[i16], starts: [usize; 4], weights: &[i16]) -> L {
    match SPAN {
        0 => long_windows(row, starts, weights),
        4 => short_windows(row, starts, weights),
        _ => windows_of::<L, SPAN>(row, starts, weights),
    }
}

/// The sums of four windows of four samples.
#[inline(always)]
fn short_windows<L: Lanes>(row: &[i16], starts: [usize; 4], weights: &[i16]) -> L {
    let weights = weights[..16].as_chunks::<8>().0;
    let two = |first: usize, second: usize| {
        let mut samples = [0; 8];
        samples[..4].copy_from_slice(&row[first..first + 4]);
        samples[4..].copy_from_slice(&row[second..second + 4]);
        L::load_i16(&samples)
    };
    let ab = two(starts[0], starts[1]).dot(L::load_i16(&weights[0]));
    let cd = two(starts[2], starts[3]).dot(L::load_i16(&weights[1]));
    let (ac, bd) = (ab.low_i32(cd), ab.high_i32(cd));
    ac.low_i32(bd).add_i32(ac.high_i32(bd))
}

/// The sums of four windows of `SPAN` samples, a multiple of eight.
#[inline(always)]
fn windows_of<L: Lanes, const SPAN: usize>(row: &[i16], starts: [usize; 4], weights: &[i16]) -> L {
    let weights = &weights[..4 * SPAN];
    let one = |window: usize| {
        let samples = row[starts[window]..starts[window] + SPAN].as_chunks::<8>().0;
        let weights = weights[SPAN * window..][..SPAN].as_chunks::<8>().0;
        let product = |vector: usize| L::load_i16(&samples[vector]).dot(L::load_i16(&weights[vector]));
        let mut sum = product(0);
        for vector in 1..SPAN / 8 {
            sum = sum.add_i32(product(vector));
        }
        sum
    };
    add_lanes(one(0), one(1), one(2), one(3))
}

/// The sums of four windows of any number of vectors.
#[inline(always)]
fn long_windows<L: Lanes>(row: &[i16], starts: [usize; 4], weights: &[i16]) -> L {
    let span = weights.len() / 4;
    let one = |window: usize| {
        let samples = row[starts[window]..][..span].as_chunks::<8>().0;
        let weights = weights[window * span..][..span].as_chunks::<8>().0;
        let mut sum = L::splat_i32(0);
        for (samples, weights) in samples.iter().zip(weights) {
            sum = sum.add_i32(L::load_i16(samples).dot(L::load_i16(weights)));
        }
        sum
    };
    add_lanes(one(0), one(1), one(2), one(3))
}

/// The sums of the lanes of four vectors.
#[inline(always)]
fn add_lanes<L: Lanes>(a: L, b: L, c: L, d: L) -> L {
    let (ab, cd) = (a.low_i32(b).add_i32(a.high_i32(b)), c.low_i32(d).add_i32(c.high_i32(d)));
    ab.low_i64(cd).add_i32(ab.high_i64(cd))
}
