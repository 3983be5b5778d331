//! The vertical filter: weighted sums of rows.

use super::FRACTION;
use crate::lanes::Lanes;
use crate::windows::ONE;

/// The fraction bits of the vertical filter's sums that a sample does not have.
pub(super) const DROPPED: u32 = ONE.trailing_zeros() - FRACTION;

/// Two weights for [`Lanes::dot`].
pub(crate) fn pair(first: i16, second: i16) -> i32 {
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
    let width = sums.len();
    let pairs = weight_pairs::<L, ROWS>(weights);
    let (blocks, rest) = sums.as_chunks_mut::<16>();
    let count = blocks.len();
    let chunks: [&[[u8; 16]]; ROWS] =
        std::array::from_fn(|row| &rows[row * stride..][..width].as_chunks::<16>().0[..count]);
    // Two blocks in each iteration: for WebAssembly, an iteration checks the deadline and moves the weights from and to memory.
    let (twos, last) = blocks.as_chunks_mut::<2>();
    for (two, [first, second]) in twos.iter_mut().enumerate() {
        accumulate_block(&chunks, 2 * two, pairs, first, begin);
        accumulate_block(&chunks, 2 * two + 1, pairs, second, begin);
    }
    if let [last] = last {
        accumulate_block(&chunks, count - 1, pairs, last, begin);
    }
    for (at, sum) in (16 * count..).zip(rest) {
        let added = column_sum(rows, at, stride, weights);
        *sum = if begin { added } else { *sum + added };
    }
}

/// [`accumulate`] for sixteen columns.
#[inline(always)]
fn accumulate_block<L: Lanes, const ROWS: usize>(
    chunks: &[&[[u8; 16]]; ROWS],
    block: usize,
    pairs: [L; 4],
    sums: &mut [i32; 16],
    begin: bool,
) {
    let sums = sums.as_chunks_mut::<4>().0;
    let mut lanes = [L::splat_i32(0); 4];
    if !begin {
        lanes = [L::load_i32(&sums[0]), L::load_i32(&sums[1]), L::load_i32(&sums[2]), L::load_i32(&sums[3])];
    }
    lanes = add_rows(lanes, chunks, block, pairs);
    for (lane, sums) in lanes.into_iter().zip(sums) {
        lane.store_i32(sums);
    }
}

/// The vertical filter for a window of at most eight rows, all of which are in `rows`: [`accumulate`] and [`narrow`] in
/// one step.
pub(crate) fn filter_columns<L: Lanes>(rows: &[u8], stride: usize, weights: &[i16], samples: &mut [i16]) {
    match weights.len() {
        1 => filter_column_rows::<L, 1>(rows, stride, weights, samples),
        2 => filter_column_rows::<L, 2>(rows, stride, weights, samples),
        3 => filter_column_rows::<L, 3>(rows, stride, weights, samples),
        4 => filter_column_rows::<L, 4>(rows, stride, weights, samples),
        5 => filter_column_rows::<L, 5>(rows, stride, weights, samples),
        6 => filter_column_rows::<L, 6>(rows, stride, weights, samples),
        7 => filter_column_rows::<L, 7>(rows, stride, weights, samples),
        _ => filter_column_rows::<L, 8>(rows, stride, weights, samples),
    }
}

#[inline(never)]
fn filter_column_rows<L: Lanes, const ROWS: usize>(rows: &[u8], stride: usize, weights: &[i16], samples: &mut [i16]) {
    let width = samples.len();
    let pairs = weight_pairs::<L, ROWS>(weights);
    let (blocks, rest) = samples.as_chunks_mut::<16>();
    let count = blocks.len();
    let chunks: [&[[u8; 16]]; ROWS] =
        std::array::from_fn(|row| &rows[row * stride..][..width].as_chunks::<16>().0[..count]);
    // Two blocks in each iteration, as in `accumulate_rows`.
    let (twos, last) = blocks.as_chunks_mut::<2>();
    for (two, [first, second]) in twos.iter_mut().enumerate() {
        filter_block(&chunks, 2 * two, pairs, first);
        filter_block(&chunks, 2 * two + 1, pairs, second);
    }
    if let [last] = last {
        filter_block(&chunks, count - 1, pairs, last);
    }
    for (at, sample) in (16 * count..).zip(rest) {
        *sample = ((column_sum(rows, at, stride, weights) + (1 << (DROPPED - 1))) >> DROPPED) as i16;
    }
}

/// [`filter_columns`] for sixteen columns.
#[inline(always)]
fn filter_block<L: Lanes, const ROWS: usize>(
    chunks: &[&[[u8; 16]]; ROWS],
    block: usize,
    pairs: [L; 4],
    samples: &mut [i16; 16],
) {
    let half = L::splat_i32(1 << (DROPPED - 1));
    let [a, b, c, d] = add_rows([half; 4], chunks, block, pairs).map(|sums| sums.shift_right_i32::<DROPPED>());
    let samples = samples.as_chunks_mut::<8>().0;
    a.narrow_i32(b).store_i16(&mut samples[0]);
    c.narrow_i32(d).store_i16(&mut samples[1]);
}

/// The weights of `ROWS` rows, each vector with those of two rows.
#[inline(always)]
fn weight_pairs<L: Lanes, const ROWS: usize>(weights: &[i16]) -> [L; 4] {
    let weight = |row: usize| if row < ROWS { weights[row] } else { 0 };
    std::array::from_fn(|row| L::splat_i32(pair(weight(2 * row), weight(2 * row + 1))))
}

/// The weighted sum of one column.
fn column_sum(rows: &[u8], at: usize, stride: usize, weights: &[i16]) -> i32 {
    let column = rows[at..].iter().step_by(stride);
    column.zip(weights).map(|(&sample, &weight)| i32::from(sample) * i32::from(weight)).sum()
}

/// Adds a block of sixteen columns of all rows to the sums.
#[inline(always)]
fn add_rows<L: Lanes, const ROWS: usize>(
    mut sums: [L; 4],
    chunks: &[&[[u8; 16]]; ROWS],
    block: usize,
    pairs: [L; 4],
) -> [L; 4] {
    // Unrolled by hand, because for WebAssembly the compiler keeps a loop here, with its sums in memory.
    sums = add_two_rows::<L, ROWS, 0>(sums, chunks, block, pairs[0]);
    sums = add_two_rows::<L, ROWS, 2>(sums, chunks, block, pairs[1]);
    sums = add_two_rows::<L, ROWS, 4>(sums, chunks, block, pairs[2]);
    add_two_rows::<L, ROWS, 6>(sums, chunks, block, pairs[3])
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
