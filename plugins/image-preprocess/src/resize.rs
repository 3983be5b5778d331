//! Bilinear resizing with antialiasing, as Pillow's BILINEAR: the triangle filter widens with the reduction,
//! and the bytes are rounded between the two passes. Only the pixels that are shown are computed.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};

use crate::decode::Decoded;
use crate::geometry::{Axis, Plan};
use crate::rows::row;

/// The part of the image that is shown in the input, oriented, row by row, `channels` bytes a pixel.
pub fn resize(decoded: &Decoded, plan: &Plan, channels: usize) -> Vec<u8> {
    use Orientation::{FlipHorizontal, FlipVertical, Rotate90, Rotate180, Rotate270, Rotate270FlipH};
    // The plan is for the image as a viewer sees it, the pixels lie as they are stored.
    let (mut x, mut y) = if decoded.is_transposed() { (plan.y, plan.x) } else { (plan.x, plan.y) };
    let turned = decoded.orientation;
    if matches!(turned, Rotate180 | Rotate270 | FlipHorizontal | Rotate270FlipH) {
        x = x.mirrored();
    }
    if matches!(turned, Rotate180 | Rotate90 | FlipVertical | Rotate270FlipH) {
        y = y.mirrored();
    }
    let mut small = if channels == 1 {
        let pixels = resample::<1>(&decoded.image, x, y);
        GrayImage::from_raw(x.count, y.count, pixels).map(DynamicImage::from)
    } else {
        let pixels = resample::<3>(&decoded.image, x, y);
        RgbImage::from_raw(x.count, y.count, pixels).map(DynamicImage::from)
    }
    .expect("resampling gives as many bytes as the size needs");
    small.apply_orientation(turned);
    small.into_bytes()
}

fn resample<const C: usize>(image: &DynamicImage, x: Axis, y: Axis) -> Vec<u8> {
    let (width, height) = (u64::from(image.width()), u64::from(image.height()));
    let columns = windows(image.width(), x);
    let lines = windows(image.height(), y);
    let mut scratch = Vec::new();
    // Pillow goes across first. For a very tall image that takes long, and memory for a wide input.
    if height * u64::from(x.count) <= 4 * width * u64::from(y.count) {
        let first = lines.first().map_or(0, |window| window.start);
        let last = lines.last().map_or(0, Window::end);
        let mut between = Vec::with_capacity((last - first) * columns.len() * C);
        for line in first..last {
            across::<C>(row::<C>(image, line as u32, &mut scratch), &columns, &mut between);
        }
        let stride = columns.len() * C;
        let mut out = Vec::with_capacity(lines.len() * stride);
        down(&lines, stride, &mut out, |line, sums, weight| {
            add(sums, &between[(line - first) * stride..][..stride], weight);
        });
        out
    } else {
        let stride = image.width() as usize * C;
        let mut between = Vec::with_capacity(lines.len() * stride);
        down(&lines, stride, &mut between, |line, sums, weight| {
            add(sums, row::<C>(image, line as u32, &mut scratch), weight);
        });
        let mut out = Vec::with_capacity(lines.len() * columns.len() * C);
        for line in between.chunks_exact(stride) {
            across::<C>(line, &columns, &mut out);
        }
        out
    }
}

/// The pixels from `start` on that make one pixel of the result.
struct Window {
    start: usize,
    weights: Vec<f32>,
}

impl Window {
    fn end(&self) -> usize {
        self.start + self.weights.len()
    }
}

/// The windows of the shown pixels on a side of `size` pixels.
fn windows(size: u32, axis: Axis) -> Vec<Window> {
    let scale = f64::from(size) / axis.full as f64;
    let reach = scale.max(1.0);
    (0..u64::from(axis.count))
        .map(|index| {
            let center = ((axis.start + index) as f64 + 0.5) * scale;
            // The casts saturate at 0.
            let start = (center - reach + 0.5) as usize;
            let end = ((center + reach + 0.5) as usize).min(size as usize);
            let weight = |at: usize| (1.0 - ((at as f64 + 0.5 - center) / reach).abs()).max(0.0);
            let sum: f64 = (start..end).map(weight).sum();
            Window { start, weights: (start..end).map(|at| (weight(at) / sum) as f32).collect() }
        })
        .collect()
}

/// One row through the horizontal filter, appended to `out`.
fn across<const C: usize>(row: &[u8], columns: &[Window], out: &mut Vec<u8>) {
    let pixels = row.as_chunks::<C>().0;
    for window in columns {
        let mut sums = [0.0_f32; C];
        for (pixel, weight) in pixels[window.start..window.end()].iter().zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += f32::from(value) * weight;
            }
        }
        out.extend(sums.map(rounded));
    }
}

/// Rows through the vertical filter, appended to `out`; `add_line` adds a weighted row to the sums.
fn down(lines: &[Window], stride: usize, out: &mut Vec<u8>, mut add_line: impl FnMut(usize, &mut [f32], f32)) {
    let mut sums = vec![0.0; stride];
    for window in lines {
        sums.fill(0.0);
        for (line, &weight) in (window.start..).zip(&window.weights) {
            add_line(line, &mut sums, weight);
        }
        out.extend(sums.iter().copied().map(rounded));
    }
}

fn add(sums: &mut [f32], row: &[u8], weight: f32) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += f32::from(value) * weight;
    }
}

fn rounded(value: f32) -> u8 {
    (value + 0.5) as u8
}
