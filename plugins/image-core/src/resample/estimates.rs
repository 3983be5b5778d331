//! Estimates of the memory that a resampler needs, for the limit on an image's memory.

use super::vertical_first::ROWS_AT_ONCE;
use crate::geometry::Axis;

/// Estimates the bytes that [`Resampler::new`](super::Resampler::new) allocates for an image of this size.
pub(crate) fn resampler_bytes(channels: usize, width: u64, height: u64, y: Axis) -> u64 {
    let scale = (height as f64 / y.full as f64).max(1.0);
    // A window has up to 2 * `scale` + 2 rows; upsampling adds one.
    let slots = ((ROWS_AT_ONCE as f64 + 2.0 * scale + 3.0) / scale + 4.0).min(f64::from(y.count));
    (width as f64 * channels as f64 * (4.0 * slots + 4.0)) as u64 + 2 * height
}

/// Estimates the bytes of the windows of a resampler for one channel and of its rows of the result: those that are
/// finished while `fed` rows are processed, until they are discarded, and if the height grows, the rows that are kept.
/// They are few, unless the image is enlarged a lot.
pub(crate) fn result_bytes(fed: u64, width: u64, height: u64, x: Axis, y: Axis) -> u64 {
    let scale = height as f64 / y.full as f64;
    let finished = ((fed as f64 + 3.0) / scale + 2.0).min(f64::from(y.count));
    let kept = if scale < 1.0 { 6.0 } else { 0.0 };
    // The memory for finished rows doubles when it is full.
    let rows = (3.0 * finished + kept + 1.0) * 4.0 * f64::from(x.count + 3);
    let windows = |length: u64, axis: Axis| {
        let longest = (2.0 * length as f64 / axis.full as f64).max(2.0) + 3.0;
        (f64::from(axis.count) + 3.0) * (2.0 * (longest + 8.0) + 24.0) + 8.0 * longest
    };
    (rows + windows(width, x) + windows(height, y)) as u64
}
