//! The inverse transform of blocks with few coefficients, bit-identical to that of [`idct`](super::idct).

use super::idct::{
    CONST_BITS, Eight, F0_390, F0_900, F1_176, F1_501, FIRST_SHIFT, PASS1_BITS, SECOND_SHIFT, Wide, dc_sample,
    store_columns, store_eight,
};
use crate::lanes::Lanes;

/// Stores the samples of a block that only has a DC coefficient.
// Not inlined, because few blocks are like this, and all others would compute the places of the rows too.
#[inline(never)]
pub(super) fn dc_block(coefficient: i16, quantiser: i16, strip: &mut [Eight], stride: usize) {
    store_eight([[dc_sample(coefficient, quantiser); 8]; 8], strip, stride);
}

/// The factors of the second number in a pass over numbers of which all others but the first are 0: those of the first four
/// results. The last four have the negative ones in reverse order. As in libjpeg, these are sums of rounded factors.
const A: i16 = F1_501 - F0_900 + F1_176 - F0_390;
const B: i16 = F1_176;
const C: i16 = F1_176 - F0_390;
const D: i16 = F1_176 - F0_900;

/// Converts a block that only has a DC coefficient and the next two: one in the first row and one in the first column.
/// Many blocks of photographs are like this. Each step rounds and wraps as in the passes over eight vectors.
#[inline(never)]
pub(super) fn small_block<L: Lanes>(
    coefficients: &[[i16; 8]; 8],
    quantiser: &[i16; 64],
    strip: &mut [Eight],
    stride: usize,
) {
    let dc = coefficients[0][0].wrapping_mul(quantiser[0]);
    let across = coefficients[0][1].wrapping_mul(quantiser[1]);
    let down = coefficients[1][0].wrapping_mul(quantiser[8]);
    // The first column; all others but the second are 0, and that one is the same in each row.
    let even = L::splat_i32((i32::from(dc) << CONST_BITS) + (1 << (FIRST_SHIFT - 1)));
    let down = L::splat_i32(i32::from(down as u16));
    let half = |factors: [i16; 8]| even.add_i32(down.dot(L::load_i16(&factors))).shift_right_i32::<FIRST_SHIFT>();
    let first = half([A, 0, B, 0, C, 0, D, 0]).narrow_i32(half([-D, 0, -C, 0, -B, 0, -A, 0]));
    let second = (i32::from(across) << PASS1_BITS).clamp(i16::MIN.into(), i16::MAX.into());

    let even = Wide::from_i16(first, L::splat_i32(1 << (SECOND_SHIFT - 1)));
    let odd = [A, B, C, D].map(|factor| L::splat_i32(second * i32::from(factor))).map(|odd| Wide(odd, odd));
    let sum = |index: usize| even.add(odd[index]).narrow::<SECOND_SHIFT>();
    let difference = |index: usize| even.sub(odd[index]).narrow::<SECOND_SHIFT>();
    let columns = [sum(0), sum(1), sum(2), sum(3), difference(3), difference(2), difference(1), difference(0)];
    store_columns(columns, strip, stride);
}
