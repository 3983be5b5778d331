//! Undoes the prediction of pixels by their neighbours (section 4.1).

use super::Blocks;
use super::inverse::add;

const BLACK: u32 = 0xFF00_0000;

/// Adds the predictions to the differences in the image. The predictor of each block is the green of a pixel of `data`.
pub(super) fn undo(image: &mut [u32], width: usize, blocks: Blocks, data: &[u32]) {
    let (first, _) = image.split_at_mut(width);
    let mut last = BLACK;
    for pixel in first {
        *pixel = add(*pixel, last);
        last = *pixel;
    }
    for y in 1..image.len() / width {
        let (above, row) = image[(y - 1) * width..].split_at_mut(width);
        let row = &mut row[..width];
        row[0] = add(row[0], above[0]);
        let predictors = &data[(y >> blocks.0) * blocks.cover(width)..];
        for (number, predictor) in (0..blocks.cover(width)).zip(predictors) {
            let part = (number << blocks.0).max(1)..((number + 1) << blocks.0).min(width);
            // As in libwebp, only four bits count.
            match predictor >> 8 & 15 {
                1 => run::<1>(row, above, part),
                2 => run::<2>(row, above, part),
                3 => run::<3>(row, above, part),
                4 => run::<4>(row, above, part),
                5 => run::<5>(row, above, part),
                6 => run::<6>(row, above, part),
                7 => run::<7>(row, above, part),
                8 => run::<8>(row, above, part),
                9 => run::<9>(row, above, part),
                10 => run::<10>(row, above, part),
                11 => run::<11>(row, above, part),
                12 => run::<12>(row, above, part),
                13 => run::<13>(row, above, part),
                // As in libwebp, also 14 and 15.
                _ => run::<0>(row, above, part),
            }
        }
    }
}

/// Undoes one predictor in a part of a row that does not include its first pixel.
fn run<const PREDICTOR: u8>(row: &mut [u32], above: &[u32], part: std::ops::Range<usize>) {
    if part.is_empty() {
        return;
    }
    let (first, width) = (part.start, row.len());
    let end = part.end.min(width - 1);
    let mut left = row[first - 1];
    if first < end {
        let above = above[first - 1..=end].windows(3);
        for (pixel, above) in row[first..end].iter_mut().zip(above) {
            left = add(*pixel, predict::<PREDICTOR>(left, above[1], above[0], above[2]));
            *pixel = left;
        }
    }
    if part.end == width {
        // To the right and above the last pixel of a row is the first pixel of the row itself.
        let prediction = predict::<PREDICTOR>(left, above[width - 1], above[width - 2], row[0]);
        row[width - 1] = add(row[width - 1], prediction);
    }
}

#[inline(always)]
fn predict<const PREDICTOR: u8>(left: u32, top: u32, top_left: u32, top_right: u32) -> u32 {
    match PREDICTOR {
        1 => left,
        2 => top,
        3 => top_right,
        4 => top_left,
        5 => average(average(left, top_right), top),
        6 => average(left, top_left),
        7 => average(left, top),
        8 => average(top_left, top),
        9 => average(top, top_right),
        10 => average(average(left, top_left), average(top, top_right)),
        11 => select(left, top, top_left),
        12 => each(left, top, top_left, |left, top, top_left| left + top - top_left),
        13 => {
            let mean = average(left, top);
            each(mean, mean, top_left, |mean, _, top_left| mean + (mean - top_left) / 2)
        }
        _ => BLACK,
    }
}

/// The mean of the parts of two pixels, rounded down.
#[inline]
fn average(a: u32, b: u32) -> u32 {
    (((a ^ b) & 0xFEFE_FEFE) >> 1) + (a & b)
}

/// The one of the left and the top pixel that is closer to their sum without the pixel between them.
#[inline]
fn select(left: u32, top: u32, top_left: u32) -> u32 {
    let distance = |a: u32, b: u32| {
        let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
        (0..4).map(|part| u32::from(a[part].abs_diff(b[part]))).sum::<u32>()
    };
    if distance(top, top_left) < distance(left, top_left) { left } else { top }
}

/// Computes each of the four parts of a pixel from those of three, with values below 0 or above 255 clamped.
#[inline]
fn each(a: u32, b: u32, c: u32, part: impl Fn(i32, i32, i32) -> i32) -> u32 {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    let parts: [u8; 4] =
        std::array::from_fn(|at| part(i32::from(a[at]), i32::from(b[at]), i32::from(c[at])).clamp(0, 255) as u8);
    u32::from_le_bytes(parts)
}
