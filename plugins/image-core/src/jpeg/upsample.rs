//! Converts the samples of a subsampled component to one row of pixels, bit-identical to libjpeg-turbo ("fancy
//! upsampling"): a triangle filter in the directions with one sample for two pixels, otherwise repetition.

use crate::resample::Upsampling;

/// Writes the pixels of row `y`. `row` returns the samples of the row with this index; indices beyond the first and the
/// last row must return that row. `sums` is scratch space for a row of samples.
pub(super) fn upsample<'r>(
    [across, down]: [Upsampling; 2],
    y: usize,
    row: impl Fn(isize) -> &'r [u8],
    sums: &mut [u16],
    pixels: &mut [u8],
) {
    match (across, down) {
        (Upsampling::None, Upsampling::None) => pixels.copy_from_slice(row(y as isize)),
        (Upsampling::None, Upsampling::Triangle) => {
            // The rounding alternates, so that the result is not brighter on average.
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            add_rows(y, row, sums);
            for (pixel, sum) in pixels.iter_mut().zip(sums) {
                *pixel = ((*sum + bias) >> 2) as u8;
            }
        }
        (Upsampling::Triangle, Upsampling::Triangle) => {
            add_rows(y, row, sums);
            triangle::<4>(sums, pixels);
        }
        (Upsampling::Triangle, _) => {
            for (sum, sample) in sums.iter_mut().zip(row(y as isize)) {
                *sum = u16::from(*sample);
            }
            triangle::<2>(sums, pixels);
        }
        (across, down) => {
            let repeated = |upsampling| if let Upsampling::Repeat(times) = upsampling { times } else { 1 };
            let samples = row((y / repeated(down)) as isize);
            for (pixels, sample) in pixels.chunks_mut(repeated(across)).zip(samples) {
                pixels.fill(*sample);
            }
        }
    }
}

/// Adds three times the row that contains row `y` of pixels, and the row nearest to it.
fn add_rows<'r>(y: usize, row: impl Fn(isize) -> &'r [u8], sums: &mut [u16]) {
    let near = (y / 2) as isize;
    let far = if y.is_multiple_of(2) { near - 1 } else { near + 1 };
    for ((sum, near), far) in sums.iter_mut().zip(row(near)).zip(row(far)) {
        *sum = 3 * u16::from(*near) + u16::from(*far);
    }
}

/// Two pixels for each sum. The weights of the sums and of this filter add up to 1 << `BITS`.
fn triangle<const BITS: u32>(sums: &[u16], pixels: &mut [u8]) {
    // The rounding alternates, as above.
    let (left, right) = if BITS == 4 { (8, 7) } else { (1, 2) };
    let pair = |before: u16, this: u16, after: u16| {
        [((3 * this + before + left) >> BITS) as u8, ((3 * this + after + right) >> BITS) as u8]
    };
    let last = sums.len() - 1;
    let edge = |at: usize| pair(sums[at.saturating_sub(1)], sums[at], sums[(at + 1).min(last)]);
    let inner = pixels.as_chunks_mut::<2>().0.iter_mut().skip(1);
    for (((pixels, before), this), after) in inner.zip(sums).zip(&sums[1..]).zip(sums.iter().skip(2)) {
        *pixels = pair(*before, *this, *after);
    }
    for at in [0, last] {
        // The last sample may have only one pixel.
        for (pixel, value) in pixels[2 * at..].iter_mut().zip(edge(at)) {
            *pixel = value;
        }
    }
}
