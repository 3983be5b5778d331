//! Resizes rows as they arrive. Instead of the image, only one row of sums is stored for each unfinished row of the
//! result.
//!
//! If the height shrinks, the vertical filter runs first, and the horizontal filter runs once for each finished sum. If
//! the height grows, the horizontal filter runs once for each row, and the last few rows are combined into each row of
//! the result, because there would be more sums than rows.

mod sparse;

use std::marker::PhantomData;
use std::rc::Rc;

use crate::geometry::Axis;
use crate::kernels::{FRACTION, accumulate, filter_columns, filter_row, narrow};
use crate::lanes::Lanes;
use crate::windows::{ONE, Windows};
pub(crate) use crate::windows::{Side, Upsampling};
pub(crate) use sparse::{SparseResampler, TILE_COLUMNS, TILE_ROWS, Tile, sparse_bytes};

/// The number of rows that are added up at once. It limits the number of unfinished rows of the result.
const ROWS_AT_ONCE: usize = 16;

/// Resizes a plane with one or three channels to its size in the input.
pub(crate) struct Resampler<L> {
    channels: usize,
    /// True if a row has one channel after the other, false if it has one pixel after the other.
    planar: bool,
    /// Samples of a row of one channel, including padding.
    width: usize,
    height: usize,
    horizontal: Rc<Windows>,
    vertical: Rc<Windows>,
    order: Order,
    /// One row of each channel, the input of the horizontal filter.
    samples: Vec<i16>,
    sample_stride: usize,
    /// The number of rows that have arrived.
    seen: usize,
    /// The number of finished rows of the result.
    done: usize,
    /// Rows of `channels` times `columns` floats. The first `ready` are finished and were not discarded yet.
    finished: Vec<f32>,
    ready: usize,
    columns: usize,
    lanes: PhantomData<L>,
}

enum Order {
    /// `slots` rows of sums, used as a ring.
    VerticalFirst { sums: Vec<i32>, slots: usize },
    /// The last `rows` rows, resized horizontally; as many as the longest window has.
    HorizontalFirst { recent: Vec<f32>, rows: usize },
}

impl<L: Lanes> Resampler<L> {
    /// For rows of `channels` times `stored` bytes; `stored` is at least `width.length`. The channels are interleaved.
    pub(crate) fn new(channels: usize, stored: usize, width: Side, height: Side, x: Axis, y: Axis) -> Self {
        let horizontal = Rc::new(Windows::new(width, x, true));
        let vertical = Rc::new(Windows::new(height, y, false));
        Self::with_windows(channels, stored, height, y, [horizontal, vertical])
    }

    /// Like [`Resampler::new`], with the horizontal and vertical windows of a resampler for the same sides.
    pub(crate) fn with_windows(
        channels: usize,
        stored: usize,
        height: Side,
        y: Axis,
        [horizontal, vertical]: [Rc<Windows>; 2],
    ) -> Self {
        let columns = horizontal.count().next_multiple_of(4);
        let sample_stride = stored + horizontal.span() + 8;
        let scale = height.length as f64 / y.full as f64;
        let order = if scale >= 1.0 {
            let alive = (ROWS_AT_ONCE + vertical.longest()) as f64 / scale;
            let slots = (alive.ceil() as usize + 3).min(vertical.count());
            Order::VerticalFirst { sums: vec![0; slots * stored * channels], slots }
        } else {
            let rows = vertical.longest();
            Order::HorizontalFirst { recent: vec![0.0; rows * channels * columns], rows }
        };
        Resampler {
            channels,
            planar: channels == 1,
            width: stored,
            height: height.length,
            horizontal,
            vertical,
            order,
            samples: vec![0; channels * sample_stride],
            sample_stride,
            seen: 0,
            done: 0,
            finished: Vec::new(),
            ready: 0,
            columns,
            lanes: PhantomData,
        }
    }

    /// Like [`Resampler::new`], for rows with one channel after the other.
    pub(crate) fn planar(channels: usize, stored: usize, width: Side, height: Side, x: Axis, y: Axis) -> Self {
        Resampler { planar: true, ..Resampler::new(channels, stored, width, height, x, y) }
    }

    /// The horizontal and vertical windows.
    pub(crate) fn windows(&self) -> [Rc<Windows>; 2] {
        [self.horizontal.clone(), self.vertical.clone()]
    }

    /// Processes the next rows, which start `stride` bytes apart. Rows beyond the height are padding and ignored.
    pub(crate) fn feed(&mut self, rows: &[u8], stride: usize, count: usize) {
        let count = count.min(self.height - self.seen);
        for first in (0..count).step_by(ROWS_AT_ONCE) {
            let group = ROWS_AT_ONCE.min(count - first);
            let rows = &rows[first * stride..];
            if matches!(self.order, Order::VerticalFirst { .. }) {
                self.feed_vertical_first(rows, stride, group);
            } else {
                for row in 0..group {
                    self.feed_horizontal_first(&rows[row * stride..]);
                }
            }
        }
    }

    fn feed_vertical_first(&mut self, rows: &[u8], stride: usize, count: usize) {
        let Order::VerticalFirst { sums, slots } = &mut self.order else {
            unreachable!("the caller checked the order")
        };
        let (from, to) = (self.seen, self.seen + count);
        self.seen = to;
        let length = self.width * self.channels;
        for window in self.done..self.vertical.count() {
            let (start, end) = (self.vertical.start(window), self.vertical.end(window));
            if start >= to {
                break;
            }
            let (first, last) = (start.max(from), end.min(to));
            let weights = &self.vertical.weights(window)[first - start..last - start];
            let rows = &rows[(first - from) * stride..];
            if self.planar && start >= from && end <= to && weights.len() <= 8 {
                let samples = self.samples.chunks_exact_mut(self.sample_stride);
                for (channel, samples) in samples.enumerate() {
                    let rows = &rows[channel * self.width..];
                    filter_columns::<L>(rows, stride, weights, &mut samples[..self.width]);
                }
            } else {
                let sums = &mut sums[window % *slots * length..][..length];
                accumulate::<L>(rows, stride, weights, sums, start >= from);
                if end > to {
                    continue;
                }
                split::<i32>(
                    sums,
                    self.channels,
                    self.planar,
                    &mut self.samples,
                    self.sample_stride,
                    |sums, samples| {
                        narrow::<L>(sums, samples);
                    },
                    |sum| ((sum + (1 << 6)) >> 7) as i16,
                );
            }
            let out = next_row(&mut self.finished, &mut self.ready, self.channels * self.columns);
            filter::<L>(&self.samples, self.sample_stride, &self.horizontal, out);
            self.done = window + 1;
        }
    }

    fn feed_horizontal_first(&mut self, row: &[u8]) {
        let Order::HorizontalFirst { recent, rows } = &mut self.order else {
            unreachable!("the caller checked the order")
        };
        let length = self.channels * self.columns;
        let widen = |sample: u8| i16::from(sample) << FRACTION;
        let row = &row[..self.width * self.channels];
        split::<u8>(
            row,
            self.channels,
            self.planar,
            &mut self.samples,
            self.sample_stride,
            |row, samples| {
                for (sample, to) in row.iter().zip(samples) {
                    *to = widen(*sample);
                }
            },
            widen,
        );
        let place = &mut recent[self.seen % *rows * length..][..length];
        filter::<L>(&self.samples, self.sample_stride, &self.horizontal, place);
        self.seen += 1;
        while self.done < self.vertical.count() && self.vertical.end(self.done) <= self.seen {
            let out = next_row(&mut self.finished, &mut self.ready, length);
            out.fill(0.0);
            let start = self.vertical.start(self.done);
            for (row, &weight) in (start..self.vertical.end(self.done)).zip(self.vertical.weights(self.done)) {
                let weight = f32::from(weight) * (1.0 / ONE as f32);
                let row = &recent[row % *rows * length..][..length];
                for (sum, sample) in out.iter_mut().zip(row) {
                    *sum += sample * weight;
                }
            }
            self.done += 1;
        }
    }

    /// True if the height grows.
    pub(crate) fn grows(&self) -> bool {
        matches!(self.order, Order::HorizontalFirst { .. })
    }

    /// The number of finished rows of the result that were not discarded yet.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// One channel of a finished row of the result; row 0 is the oldest.
    pub(crate) fn row(&self, ready: usize, channel: usize) -> &[f32] {
        let row = ready * self.channels + channel;
        &self.finished[row * self.columns..][..self.horizontal.count()]
    }

    /// Discards the given number of finished rows, oldest first.
    pub(crate) fn discard_rows(&mut self, rows: usize) {
        let length = self.channels * self.columns;
        self.finished.copy_within(rows * length..self.ready * length, 0);
        self.ready -= rows;
    }
}

/// Estimates the bytes that [`Resampler::new`] allocates for an image of this size.
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

/// The place of the next finished row. Rows are not removed from the vector, so it is seldom enlarged.
fn next_row<'r>(finished: &'r mut Vec<f32>, ready: &mut usize, length: usize) -> &'r mut [f32] {
    let at = *ready * length;
    *ready += 1;
    if finished.len() < at + length {
        finished.resize(at + length, 0.0);
    }
    &mut finished[at..at + length]
}

/// Filters a row horizontally. Its channels, one or three, start `stride` samples apart.
fn filter<L: Lanes>(samples: &[i16], stride: usize, windows: &Windows, out: &mut [f32]) {
    if samples.len() == stride {
        return filter_row::<L, 1>([samples], windows, [out]);
    }
    let columns = out.len() / 3;
    let (first, rest) = out.split_at_mut(columns);
    let (second, third) = rest.split_at_mut(columns);
    let row = [&samples[..stride], &samples[stride..2 * stride], &samples[2 * stride..]];
    filter_row::<L, 3>(row, windows, [first, second, third]);
}

/// Converts a row to one row of samples for each channel. `whole` converts a channel if the row is `planar`, and `each`
/// converts every sample of interleaved channels.
fn split<T: Copy>(
    from: &[T],
    channels: usize,
    planar: bool,
    to: &mut [i16],
    stride: usize,
    whole: impl Fn(&[T], &mut [i16]),
    each: impl Fn(T) -> i16,
) {
    if planar {
        let width = from.len() / channels;
        for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(stride)) {
            whole(from, &mut to[..width]);
        }
        return;
    }
    let (first, rest) = to.split_at_mut(stride);
    let (second, third) = rest.split_at_mut(stride);
    for (((pixel, first), second), third) in from.as_chunks::<3>().0.iter().zip(first).zip(second).zip(third) {
        (*first, *second, *third) = (each(pixel[0]), each(pixel[1]), each(pixel[2]));
    }
}
