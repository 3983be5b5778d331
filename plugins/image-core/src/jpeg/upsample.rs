//! Converts the samples of a subsampled component to pixels of a row, bit-identical to libjpeg-turbo ("fancy
//! upsampling"): a triangle filter in the directions with one sample for two pixels, otherwise repetition.

use super::history::History;
use super::ycbcr::joined;
use crate::lanes::Lanes;
use crate::resample::Upsampling;

/// Sums before the first one and after the last one of a row.
const MARGIN: usize = 16;

/// Sums of samples, the scratch space of [`upsample`].
pub(super) struct Sums(Vec<i16>);

impl Sums {
    /// For rows of `stride` samples.
    pub(super) fn new(stride: usize) -> Sums {
        Sums(vec![0; stride + 2 * MARGIN])
    }
}

/// Writes the pixels of row `y`. `pixels` has whole groups of sixteen pixels; those after `width` are not part of the image.
/// `strip` is the number of the previous strip of the history.
pub(super) fn upsample<L: Lanes>(
    history: &History,
    strip: isize,
    y: usize,
    width: usize,
    sums: &mut Sums,
    pixels: &mut [u8],
) {
    let [across, down] = history.upsampling;
    // The row of samples that contains row `y` of pixels, and the nearest one.
    let (near, far) = match down {
        Upsampling::None => (y as isize, 0),
        Upsampling::Repeat(times) => ((y / times) as isize, 0),
        Upsampling::Triangle => ((y / 2) as isize, if y.is_multiple_of(2) { -1 } else { 1 }),
    };
    let [near, far] = [near, near + far].map(|row| history.padded_row(strip, row));
    match (across, down) {
        (Upsampling::None, Upsampling::None) => pixels[..width].copy_from_slice(&near[..width]),
        (Upsampling::None, Upsampling::Triangle) => between_rows::<L>(near, far, y, pixels),
        (Upsampling::Triangle, _) => {
            if down == Upsampling::Triangle {
                add_rows::<L>(near, far, sums);
            } else {
                widen_row::<L>(near, sums);
            }
            // At an edge, the neighbour of a sample is the sample itself.
            let last = MARGIN + history.width() - 1;
            sums.0[MARGIN - 1] = sums.0[MARGIN];
            sums.0[last + 1] = sums.0[last];
            if down == Upsampling::Triangle {
                between_columns::<L, 4>(sums, pixels);
            } else {
                between_columns::<L, 2>(sums, pixels);
            }
        }
        (across, _) => {
            let times = if let Upsampling::Repeat(times) = across { times } else { 1 };
            for (pixels, sample) in pixels[..width].chunks_mut(times).zip(near) {
                pixels.fill(*sample);
            }
        }
    }
}

/// What rounds the sum of two rows. It alternates, so that the result is not brighter on average.
#[inline(always)]
fn rounding_of_rows<L: Lanes>(y: usize) -> L {
    L::splat_i16(if y.is_multiple_of(2) { 1 } else { 2 })
}

/// The pixels in even and in odd columns, from the sums of eight samples and of those before and after them. The weights of
/// the sums and of this filter add up to 1 << `BITS`.
#[inline(always)]
fn two_columns<L: Lanes, const BITS: u32>([before, this, after]: [L; 3]) -> [L; 2] {
    // The rounding alternates, as above.
    let (left, right) = if BITS == 4 { (8, 7) } else { (1, 2) };
    let this = this.mul_i16(L::splat_i16(3)).add_i16(L::splat_i16(left));
    let odd = this.add_i16(L::splat_i16(right - left)).add_i16(after);
    [this.add_i16(before).shift_right_i16::<BITS>(), odd.shift_right_i16::<BITS>()]
}

/// Three times the near row plus the far row, of sixteen samples.
#[inline(always)]
fn sum_of_rows<L: Lanes>(near: &[u8; 16], far: &[u8; 16]) -> [L; 2] {
    let (near, far, zero, three) = (L::load_u8(near), L::load_u8(far), L::splat_i16(0), L::splat_i16(3));
    [
        near.low_u8(zero).mul_i16(three).add_i16(far.low_u8(zero)),
        near.high_u8(zero).mul_i16(three).add_i16(far.high_u8(zero)),
    ]
}

/// The triangle filter between two rows.
#[inline(never)]
fn between_rows<L: Lanes>(near: &[u8], far: &[u8], y: usize, pixels: &mut [u8]) {
    // `narrow_samples` adds 128.
    let offset = rounding_of_rows::<L>(y).sub_i16(L::splat_i16(128 << 2));
    let (near, far) = (near.as_chunks::<16>().0, far.as_chunks::<16>().0);
    for ((near, far), pixels) in near.iter().zip(far).zip(pixels.as_chunks_mut::<16>().0) {
        let [low, high] = sum_of_rows::<L>(near, far).map(|sum| sum.add_i16(offset).shift_right_i16::<2>());
        *pixels = joined(low.narrow_samples(high).halves());
    }
}

#[inline(never)]
fn add_rows<L: Lanes>(near: &[u8], far: &[u8], sums: &mut Sums) {
    let sums = sums.0[MARGIN..].as_chunks_mut::<8>().0.as_chunks_mut::<2>().0;
    for ((near, far), sums) in near.as_chunks::<16>().0.iter().zip(far.as_chunks::<16>().0).zip(sums) {
        let [low, high] = sum_of_rows::<L>(near, far);
        low.store_i16(&mut sums[0]);
        high.store_i16(&mut sums[1]);
    }
}

/// Samples as sums.
#[inline(never)]
fn widen_row<L: Lanes>(row: &[u8], sums: &mut Sums) {
    let sums = sums.0[MARGIN..].as_chunks_mut::<8>().0.as_chunks_mut::<2>().0;
    for (row, sums) in row.as_chunks::<16>().0.iter().zip(sums) {
        let (row, zero) = (L::load_u8(row), L::splat_i16(0));
        row.low_u8(zero).store_i16(&mut sums[0]);
        row.high_u8(zero).store_i16(&mut sums[1]);
    }
}

/// The triangle filter between columns: two pixels for each sum.
#[inline(never)]
fn between_columns<L: Lanes, const BITS: u32>(sums: &Sums, pixels: &mut [u8]) {
    // Eight sums each, and the same one place before and after.
    let eights = |offset: usize| sums.0[MARGIN + offset - 1..].as_chunks::<8>().0.iter();
    let pixels = pixels.as_chunks_mut::<16>().0;
    for (((before, this), after), pixels) in eights(0).zip(eights(1)).zip(eights(2)).zip(pixels) {
        let [even, odd] = two_columns::<L, BITS>([before, this, after].map(L::load_i16));
        // Both are bytes.
        *pixels = joined(even.add_i16(odd.mul_i16(L::splat_i16(256))).halves());
    }
}
