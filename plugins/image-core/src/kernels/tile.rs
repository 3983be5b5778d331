//! The two passes for an image of which only some tiles are resized.

use std::ops::Range;

use super::horizontal::{UNIT, first_sample, four_windows};
use super::vertical::DROPPED;
use crate::lanes::Lanes;
use crate::windows::Windows;

/// The vertical filter for a tile of signed samples: adds to `sums` the weighted sum of all rows. Each two rows alternate,
/// and have one number with their weights. If `begin` is true, `sums` is overwritten instead.
#[inline(never)]
pub(crate) fn accumulate_tile<L: Lanes>(
    samples: &[[[i16; 8]; 4]; 4],
    weights: &[i32; 4],
    sums: &mut [i32; 16],
    begin: bool,
) {
    let zero = L::splat_i32(0);
    let sums = sums.as_chunks_mut::<4>().0;
    let mut lanes = [zero; 4];
    if !begin {
        lanes = [L::load_i32(&sums[0]), L::load_i32(&sums[1]), L::load_i32(&sums[2]), L::load_i32(&sums[3])];
    }
    let add_pair = |lanes: [L; 4], pair: usize| {
        // Most windows overlap a part of the rows.
        if weights[pair] == 0 {
            return lanes;
        }
        let (weights, samples) = (L::splat_i32(weights[pair]), &samples[pair]);
        [
            lanes[0].add_i32(L::load_i16(&samples[0]).dot(weights)),
            lanes[1].add_i32(L::load_i16(&samples[1]).dot(weights)),
            lanes[2].add_i32(L::load_i16(&samples[2]).dot(weights)),
            lanes[3].add_i32(L::load_i16(&samples[3]).dot(weights)),
        ]
    };
    // Unrolled by hand: for WebAssembly, the compiler keeps a loop here, and its sums are moved in memory.
    lanes = add_pair(add_pair(add_pair(add_pair(lanes, 0), 1), 2), 3);
    for (lane, sums) in lanes.into_iter().zip(sums) {
        lane.store_i32(sums);
    }
}

/// Converts the sums of the vertical filter to samples, like [`narrow`](super::narrow).
#[inline(always)]
pub(crate) fn narrow_tile<L: Lanes>(sums: &[i32; 16], samples: &mut [i16; 16]) {
    let half = L::splat_i32(1 << (DROPPED - 1));
    let [a, b, c, d] = sums.as_chunks::<4>().0 else { unreachable!("sixteen is four times four") };
    let [a, b, c, d] = [a, b, c, d].map(|sums| L::load_i32(sums).add_i32(half).shift_right_i32::<DROPPED>());
    let samples = samples.as_chunks_mut::<8>().0;
    a.narrow_i32(b).store_i16(&mut samples[0]);
    c.narrow_i32(d).store_i16(&mut samples[1]);
}

/// The horizontal filter for some windows of a row of one channel; the first window is a multiple of four.
pub(crate) fn filter_part<L: Lanes>(row: &[i16], windows: &Windows, part: Range<usize>, out: &mut [f32]) {
    match windows.span() {
        4 => filter_part_with::<L, 4>(row, windows, part, out),
        8 => filter_part_with::<L, 8>(row, windows, part, out),
        16 => filter_part_with::<L, 16>(row, windows, part, out),
        24 => filter_part_with::<L, 24>(row, windows, part, out),
        32 => filter_part_with::<L, 32>(row, windows, part, out),
        40 => filter_part_with::<L, 40>(row, windows, part, out),
        _ => filter_part_with::<L, 0>(row, windows, part, out),
    }
}

#[inline(never)]
fn filter_part_with<L: Lanes, const SPAN: usize>(row: &[i16], windows: &Windows, part: Range<usize>, out: &mut [f32]) {
    let out = out.as_chunks_mut::<4>().0;
    let groups = part.start / 4..part.end.div_ceil(4);
    for (group, (starts, weights)) in windows.groups_of_four().enumerate().skip(groups.start).take(groups.len()) {
        out[group] = four_windows::<L, SPAN>(row, starts.map(first_sample), weights).scaled(UNIT);
    }
}
