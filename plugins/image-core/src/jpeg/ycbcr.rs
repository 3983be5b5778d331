//! Converts luma and chroma to red, green and blue, with the bits of libjpeg.

use crate::lanes::Lanes;

/// Converts luma and chroma to red, green and blue, bit-identical to libjpeg. [`Lanes::narrow_samples`] adds 128 to the
/// vectors, so they are computed without it.
#[inline(never)]
pub(super) fn ycbcr_to_rgb<L: Lanes>([y, cb, cr]: [&[u8]; 3], [r, g, b]: [&mut [u8]; 3]) {
    let [y, cb, cr] = [y, cb, cr].map(|component| component.as_chunks::<16>());
    let [r, g, b] = [r, g, b].map(|channel| channel.as_chunks_mut::<16>());
    for ((y, (cb, cr)), ((r, g), b)) in y.0.iter().zip(cb.0.iter().zip(cr.0)).zip(r.0.iter_mut().zip(g.0).zip(b.0)) {
        let [y, cb, cr] = [y, cb, cr].map(L::load_u8);
        let zero = L::splat_i16(0);
        let chroma = chroma_pairs(cb, cr);
        let [red, green, blue] =
            [scaled::<L, 14>(chroma, RED, 128), scaled::<L, 16>(chroma, GREEN, 0), scaled::<L, 14>(chroma, BLUE, 128)];
        let (y, cr) = ([y.low_u8(zero), y.high_u8(zero)], [cr.low_u8(zero), cr.high_u8(zero)]);
        *r = joined(y[0].add_i16(red[0]).narrow_samples(y[1].add_i16(red[1])).halves());
        let green = [0, 1].map(|half| y[half].sub_i16(cr[half]).add_i16(green[half]));
        *g = joined(green[0].narrow_samples(green[1]).halves());
        *b = joined(y[0].add_i16(blue[0]).narrow_samples(y[1].add_i16(blue[1])).halves());
    }
    let byte = |value: i32| value.clamp(0, 255) as u8;
    for ((y, (cb, cr)), ((r, g), b)) in y.1.iter().zip(cb.1.iter().zip(cr.1)).zip(r.1.iter_mut().zip(g.1).zip(b.1)) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        *r = byte(y + ((RED[1] * cr + (1 << 13)) >> 14));
        *g = byte(y - cr + ((GREEN[0] * cb + GREEN[1] * cr + (1 << 15)) >> 16));
        *b = byte(y + ((BLUE[0] * cb + (1 << 13)) >> 14));
    }
}

/// The factors of Cb and Cr. Those of red and blue are 1.402 and 1.772 with 14 fraction bits; with 16 bits, as libjpeg
/// has them, they would not fit into a lane. They are chosen so that the rounded product is the same for all chroma.
const RED: [i32; 2] = [0, 22_971];
const BLUE: [i32; 2] = [29_033, 0];
/// The factors -0.34414 and -0.71414 with 16 fraction bits. Cr is subtracted once more separately.
const GREEN: [i32; 2] = [-22_554, 18_734];

/// The rounded sum of both chroma samples of sixteen pixels, each multiplied by its factor, less `level`. The factors
/// have `SHIFT` fraction bits. Each vector of `chroma` has Cb and Cr of four pixels.
#[inline(always)]
fn scaled<L: Lanes, const SHIFT: u32>(chroma: [L; 4], factors: [i32; 2], level: i32) -> [L; 2] {
    // The samples are 128 too large.
    let offset = (1 << (SHIFT - 1)) - 128 * (factors[0] + factors[1]) - (level << SHIFT);
    let (factors, offset) = (L::splat_i32(factors[0] & 0xFFFF | factors[1] << 16), L::splat_i32(offset));
    let [a, b, c, d] = chroma.map(|pairs| pairs.dot(factors).add_i32(offset).shift_right_i32::<SHIFT>());
    [a.narrow_i32(b), c.narrow_i32(d)]
}

#[inline(always)]
pub(super) fn joined([low, high]: [[u8; 8]; 2]) -> [u8; 16] {
    (u128::from(u64::from_le_bytes(low)) | u128::from(u64::from_le_bytes(high)) << 64).to_le_bytes()
}

/// Cb and Cr of sixteen pixels; each vector has those of four pixels.
#[inline(always)]
fn chroma_pairs<L: Lanes>(cb: L, cr: L) -> [L; 4] {
    let zero = L::splat_i16(0);
    let (low, high) = (cb.low_u8(cr), cb.high_u8(cr));
    [low.low_u8(zero), low.high_u8(zero), high.low_u8(zero), high.high_u8(zero)]
}

/// What is added to a channel (0 is red, 1 green, 2 blue) of eight pixels when it is clamped: negative numbers where the
/// colour exceeds 255, positive numbers where it is below 0. All have 16-bit lanes; chroma is less 128. The factors have 8 or
/// 9 fraction bits, so that a product fits into a lane. They are precise to 0.14 of 255.
#[inline(always)]
pub(super) fn clamping<L: Lanes, const CHANNEL: usize>([y, cb, cr]: [L; 3]) -> L {
    let times = |chroma: L, factor: i16| chroma.mul_i16(L::splat_i16(factor));
    let rounding = L::splat_i16(1 << 8);
    // 1.402, -0.34414 with -0.71414, and 1.772.
    let chroma = match CHANNEL {
        0 => cr.add_i16(times(cr, 206).add_i16(rounding).shift_right_i16::<9>()),
        1 => {
            let sum = times(cr, 73).add_i16(times(cb, -88)).add_i16(L::splat_i16(1 << 7));
            sum.shift_right_i16::<8>().sub_i16(cr)
        }
        _ => cb.add_i16(cb).add_i16(times(cb, -117).add_i16(rounding).shift_right_i16::<9>()),
    };
    let colour = y.add_i16(chroma);
    colour.max_i16(L::splat_i16(0)).min_i16(L::splat_i16(255)).sub_i16(colour)
}
