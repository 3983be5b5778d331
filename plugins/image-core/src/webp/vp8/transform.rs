//! The inverse transform of a block of 4 x 4 pixels (RFC 6386, section 14.4).

use super::predict::{Block, STRIDE};
use crate::lanes::Lanes;

/// Adds the transform of the coefficients to the prediction.
#[inline(always)]
pub(super) fn add<L: Lanes>(block: &mut Block, at: usize, coefficients: &[i32; 16]) {
    let rows = coefficients.as_chunks::<4>().0;
    let rows = [L::load_i32(&rows[0]), L::load_i32(&rows[1]), L::load_i32(&rows[2]), L::load_i32(&rows[3])];
    let [first, second, third, fourth] = transposed(pass(rows));
    // What is added to the first coefficient rounds the results.
    let [a, b, c, d] = transposed(pass([first.add_i32(L::splat_i32(4)), second, third, fourth]));
    let eighth = |row: L| row.shift_right_i32::<3>();
    add_rows(block, at, [eighth(a).narrow_i32(eighth(b)), eighth(c).narrow_i32(eighth(d))]);
}

/// Adds the transform of the first coefficient to the prediction, for a block that has no other.
#[inline(always)]
pub(super) fn add_first<L: Lanes>(block: &mut Block, at: usize, first: i32) {
    add_rows(block, at, [L::splat_i16(((first + 4) >> 3) as i16); 2]);
}

/// One dimension of the transform.
#[inline(always)]
fn pass<L: Lanes>([first, second, third, fourth]: [L; 4]) -> [L; 4] {
    // The square roots of 2, multiplied by a cosine and a sine. A lane holds one number of 16 bits and its sign. The second
    // factor does not fit into 16 bits, so it is less 1.
    let cosine = |lanes: L| lanes.dot(L::splat_i32(20_091)).shift_right_i32::<16>().add_i32(lanes);
    let sine = |lanes: L| lanes.dot(L::splat_i32(35_468)).shift_right_i32::<16>().add_i32(lanes);
    let (a, b) = (first.add_i32(third), first.sub_i32(third));
    let c = sine(second).sub_i32(cosine(fourth));
    let d = cosine(second).add_i32(sine(fourth));
    [a.add_i32(d), b.add_i32(c), b.sub_i32(c), a.sub_i32(d)]
}

#[inline(always)]
fn transposed<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 4] {
    let (ac, bd) = ([a.low_i32(c), a.high_i32(c)], [b.low_i32(d), b.high_i32(d)]);
    [ac[0].low_i32(bd[0]), ac[0].high_i32(bd[0]), ac[1].low_i32(bd[1]), ac[1].high_i32(bd[1])]
}

/// Adds to 4 x 4 pixels; each vector has two rows.
#[inline(always)]
fn add_rows<L: Lanes>(block: &mut Block, at: usize, added: [L; 2]) {
    let mut pixels = [0; 16];
    for (row, pixels) in pixels.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        pixels.copy_from_slice(&block[at + row * STRIDE..][..4]);
    }
    let (pixels, zero) = (L::load_u8(&pixels), L::splat_i16(0));
    // `narrow_samples` adds 128.
    let level = L::splat_i16(-128);
    let low = pixels.low_u8(zero).add_i16(level).add_i16(added[0]);
    let high = pixels.high_u8(zero).add_i16(level).add_i16(added[1]);
    let mut pixels = [0; 16];
    low.narrow_samples(high).store_u8(&mut pixels);
    for (row, pixels) in pixels.as_chunks::<4>().0.iter().enumerate() {
        block[at + row * STRIDE..][..4].copy_from_slice(pixels);
    }
}
