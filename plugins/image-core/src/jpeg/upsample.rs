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

/// Groups of sixteen samples or pixels in one iteration. For WebAssembly, each iteration checks the deadline and moves all
/// constants from and to memory.
const GROUPS: usize = 4;

#[inline(never)]
fn add_rows<L: Lanes>(near: &[u8], far: &[u8], sums: &mut Sums) {
    let add = |near: &[u8; 16], far: &[u8; 16], sums: &mut [[i16; 8]; 2]| {
        let [low, high] = sum_of_rows::<L>(near, far);
        low.store_i16(&mut sums[0]);
        high.store_i16(&mut sums[1]);
    };
    let (near, near_rest) = near.as_chunks::<16>().0.as_chunks::<GROUPS>();
    let (far, far_rest) = far.as_chunks::<16>().0.as_chunks::<GROUPS>();
    let sums = sums.0[MARGIN..].as_chunks_mut::<8>().0.as_chunks_mut::<2>().0;
    let (whole, rest) = sums.split_at_mut(near.len() * GROUPS);
    for ((near, far), sums) in near.iter().zip(far).zip(whole.as_chunks_mut::<GROUPS>().0) {
        for group in 0..GROUPS {
            add(&near[group], &far[group], &mut sums[group]);
        }
    }
    near_rest.iter().zip(far_rest).zip(rest).for_each(|((near, far), sums)| add(near, far, sums));
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
    let eights = |offset: usize| sums.0[MARGIN + offset - 1..].as_chunks::<8>().0;
    let two = |sums: [&[i16; 8]; 3], pixels: &mut [u8; 16]| {
        let [even, odd] = two_columns::<L, BITS>(sums.map(L::load_i16));
        // Both are bytes.
        *pixels = joined(even.add_i16(odd.mul_i16(L::splat_i16(256))).halves());
    };
    let (whole, rest) = pixels.as_chunks_mut::<16>().0.as_chunks_mut::<GROUPS>();
    let (before, this, after) = (eights(0), eights(1), eights(2));
    let groups = |eights| <[[i16; 8]]>::as_chunks::<GROUPS>(eights).0.iter();
    let done = whole.len() * GROUPS;
    for (((before, this), after), pixels) in groups(before).zip(groups(this)).zip(groups(after)).zip(whole) {
        for group in 0..GROUPS {
            two([&before[group], &this[group], &after[group]], &mut pixels[group]);
        }
    }
    let rest = before[done..].iter().zip(&this[done..]).zip(&after[done..]).zip(rest);
    rest.for_each(|(((before, this), after), pixels)| two([before, this, after], pixels));
}
