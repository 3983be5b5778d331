//! Converts rows of luma and chroma to red, green and blue, with the bits of libwebp: chroma is interpolated between the
//! four nearest samples, and colours are those of BT.601 with the limited range.

use crate::lanes::Lanes;

/// Interpolates a row of chroma that has half as many samples as `out`, rounded up: nine sixteenths of the nearest
/// sample. `near` is the nearest row, and `far` the next one.
pub(super) fn upsample<L: Lanes>(near: &[u8], far: &[u8], out: &mut [u8]) {
    let at_end = |at: usize| ((3 * u32::from(near[at]) + u32::from(far[at]) + 2) / 4) as u8;
    let samples = out.len().div_ceil(2);
    let (near, far) = (&near[..samples], &far[..samples]);
    out[0] = at_end(0);
    if out.len().is_multiple_of(2) {
        out[2 * samples - 1] = at_end(samples - 1);
    }
    // Each two neighbours give two pixels.
    let pixels = &mut out[1..2 * samples - 1];
    let done = upsample_vectors::<L>(near, far, pixels);
    for (at, pixels) in pixels.as_chunks_mut::<2>().0.iter_mut().enumerate().skip(done) {
        let [a, b, c, d] = [near[at], near[at + 1], far[at], far[at + 1]].map(u32::from);
        let sum = a + b + c + d + 8;
        *pixels = [((sum + 2 * (b + c)) / 8 + a) / 2, ((sum + 2 * (a + d)) / 8 + b) / 2].map(|pixel| pixel as u8);
    }
}

/// Interpolates as many pairs of pixels as fill vectors, and returns their number.
#[inline(always)]
fn upsample_vectors<'a, L: Lanes>(near: &'a [u8], far: &'a [u8], out: &mut [u8]) -> usize {
    let next = |samples: &[u8]| samples.get(1..).unwrap_or_default().as_chunks::<16>().0.len();
    let count = next(near);
    let both = |row: &'a [u8]| (row.as_chunks::<16>().0, row[1..].as_chunks::<16>().0);
    let (near, far) = (both(near), both(far));
    let (zero, eight) = (L::splat_u8(0), L::splat_i16(8));
    for (vector, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate().take(count) {
        let (a, b) = (L::load_u8(&near.0[vector]), L::load_u8(&near.1[vector]));
        let (c, d) = (L::load_u8(&far.0[vector]), L::load_u8(&far.1[vector]));
        let half = |a: L, b: L, c: L, d: L| {
            let (ad, bc) = (a.add_i16(d), b.add_i16(c));
            let sum = ad.add_i16(bc).add_i16(eight);
            let first = sum.add_i16(bc).add_i16(bc).shift_right_i16::<3>().add_i16(a).shift_right_i16::<1>();
            let second = sum.add_i16(ad).add_i16(ad).shift_right_i16::<3>().add_i16(b).shift_right_i16::<1>();
            first.or(second.mul_i16(L::splat_i16(256)))
        };
        if let [low, high] = out.as_chunks_mut::<16>().0 {
            half(a.low_u8(zero), b.low_u8(zero), c.low_u8(zero), d.low_u8(zero)).store_u8(low);
            half(a.high_u8(zero), b.high_u8(zero), c.high_u8(zero), d.high_u8(zero)).store_u8(high);
        }
    }
    16 * count
}

/// The factors of luma and chroma, with 14 fraction bits.
const LUMA: u16 = 19_077;
const RED: u16 = 26_149;
const GREEN: [u16; 2] = [6_419, 13_320];
const BLUE: u16 = 33_050;

/// Converts a row to a row of each colour.
pub(super) fn convert<L: Lanes>([y, u, v]: [&[u8]; 3], [red, green, blue]: [&mut [u8]; 3]) {
    let [ys, us, vs] = [y, u, v].map(|samples| samples.as_chunks::<16>());
    let [reds, greens, blues] = [red, green, blue].map(|channel| channel.as_chunks_mut::<16>());
    let samples = ys.0.iter().zip(us.0.iter().zip(vs.0));
    for ((y, (u, v)), (red, (green, blue))) in samples.zip(reds.0.iter_mut().zip(greens.0.iter_mut().zip(blues.0))) {
        let [reds, greens, blues] = vector::<L>([L::load_u8(y), L::load_u8(u), L::load_u8(v)]);
        reds.store_u8(red);
        greens.store_u8(green);
        blues.store_u8(blue);
    }
    let samples = ys.1.iter().zip(us.1.iter().zip(vs.1));
    for ((y, (u, v)), (red, (green, blue))) in samples.zip(reds.1.iter_mut().zip(greens.1.iter_mut().zip(blues.1))) {
        let times = |sample: u8, factor: u16| (i32::from(sample) * i32::from(factor)) >> 8;
        let byte = |value: i32| (value >> 6).clamp(0, 255) as u8;
        let luma = times(*y, LUMA);
        *red = byte(luma + times(*v, RED) - 14_234);
        *green = byte(luma - times(*u, GREEN[0]) - times(*v, GREEN[1]) + 8_708);
        *blue = byte(luma + times(*u, BLUE) - 17_685);
    }
}

#[inline(always)]
fn vector<L: Lanes>([y, u, v]: [L; 3]) -> [L; 3] {
    let zero = L::splat_u8(0);
    let [red, green, blue] = half([y.low_u8(zero), u.low_u8(zero), v.low_u8(zero)]);
    let [red2, green2, blue2] = half([y.high_u8(zero), u.high_u8(zero), v.high_u8(zero)]);
    [red.narrow_samples(red2), green.narrow_samples(green2), blue.narrow_samples(blue2)]
}

/// The three colours of eight pixels, less 128.
#[inline(always)]
fn half<L: Lanes>([y, u, v]: [L; 3]) -> [L; 3] {
    // The product without its lowest eight bits. Both parts are computed without a sign.
    let times = |lanes: L, factor: u16| {
        let (high, low) = ((factor >> 8) as i16, (factor & 0xFF) as i16);
        lanes.mul_i16(L::splat_i16(high)).add_i16(lanes.mul_i16(L::splat_i16(low)).shift_right_u16::<8>())
    };
    // The results have six fraction bits.
    const LEVEL: i16 = 128 << 6;
    let end = |lanes: L| lanes.shift_right_i16::<6>();
    let luma = times(y, LUMA);
    let red = luma.add_i16(L::splat_i16(-14_234 - LEVEL)).add_i16(times(v, RED));
    let green = luma.sub_i16(times(u, GREEN[0])).sub_i16(times(v, GREEN[1])).add_i16(L::splat_i16(8_708 - LEVEL));
    // The chroma of blue has more than 15 bits, so it is less half of that.
    let blue = times(u, BLUE).sub_i16(L::splat_i16(1 << 14));
    let blue = luma.add_i16(L::splat_i16((1 << 14) - 17_685 - LEVEL)).add_i16(blue);
    [end(red), end(green), end(blue)]
}
