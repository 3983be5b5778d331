//! Resizing as the rows come: what is kept is a row of sums for every row of the result that is under way, never the
//! image.
//!
//! Where the height shrinks, rows are summed down first and each finished sum goes across once. Where it grows, each
//! row goes across once and the last few are mixed for every row of the result: there the sums would be more than the
//! rows.

use std::marker::PhantomData;

use crate::geometry::Axis;
use crate::kernels::{FRACTION, accumulate, across, narrow};
use crate::lanes::Lanes;
use crate::windows::{ONE, Windows};

/// How many rows are summed at once; it bounds the rows of the result that are under way.
const ROWS_AT_ONCE: usize = 16;
/// Where the height grows, a window has at most three rows.
const RECENT: usize = 4;

/// One direction of a plane of samples: `length` are stored, which stand for a side of `size`.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) size: f64,
    pub(crate) length: usize,
}

impl Side {
    /// A side whose samples are its pixels.
    pub(crate) fn of(length: usize) -> Side {
        Side { size: length as f64, length }
    }
}

/// A plane on its way to its size in the input, with one or three interleaved channels.
pub(crate) struct Resampler<L> {
    channels: usize,
    /// Samples of a row, padding included.
    width: usize,
    height: usize,
    across: Windows,
    down: Windows,
    order: Order,
    /// One row of each channel before it goes across.
    samples: Vec<i16>,
    sample_stride: usize,
    /// Rows that have come.
    seen: usize,
    /// Rows of the result that are finished.
    done: usize,
    /// Finished rows that were not taken, each `channels` times `columns` floats.
    finished: Vec<f32>,
    columns: usize,
    lanes: PhantomData<L>,
}

enum Order {
    /// `slots` rows of sums, taken in turn.
    DownFirst { sums: Vec<i32>, slots: usize },
    /// The last rows after they went across.
    AcrossFirst { recent: Vec<f32> },
}

impl<L: Lanes> Resampler<L> {
    /// For rows of `channels` times `stored` bytes, `stored` being at least the width's length.
    pub(crate) fn new(channels: usize, stored: usize, width: Side, height: Side, x: Axis, y: Axis) -> Self {
        let across = Windows::new(width.size, width.length, x, 8);
        let down = Windows::new(height.size, height.length, y, 1);
        let columns = across.count().next_multiple_of(4);
        let sample_stride = stored + across.span() + 8;
        let scale = height.size / y.full as f64;
        let order = if scale >= 1.0 {
            let alive = (ROWS_AT_ONCE as f64 + 2.0 * scale + 2.0) / scale;
            let slots = (alive.ceil() as usize + 2).min(down.count());
            Order::DownFirst { sums: vec![0; slots * stored * channels], slots }
        } else {
            Order::AcrossFirst { recent: vec![0.0; RECENT * channels * columns] }
        };
        Resampler {
            channels,
            width: stored,
            height: height.length,
            across,
            down,
            order,
            samples: vec![0; channels * sample_stride],
            sample_stride,
            seen: 0,
            done: 0,
            finished: Vec::new(),
            columns,
            lanes: PhantomData,
        }
    }

    /// Takes the next rows, which stand `stride` bytes apart; those beyond the height are padding.
    pub(crate) fn feed(&mut self, rows: &[u8], stride: usize, count: usize) {
        let count = count.min(self.height - self.seen);
        for first in (0..count).step_by(ROWS_AT_ONCE) {
            let some = ROWS_AT_ONCE.min(count - first);
            let rows = &rows[first * stride..];
            if matches!(self.order, Order::DownFirst { .. }) {
                self.feed_down(rows, stride, some);
            } else {
                for row in 0..some {
                    self.feed_across(&rows[row * stride..]);
                }
            }
        }
    }

    fn feed_down(&mut self, rows: &[u8], stride: usize, count: usize) {
        let Order::DownFirst { sums, slots } = &mut self.order else { unreachable!("asked before") };
        let (from, to) = (self.seen, self.seen + count);
        self.seen = to;
        let length = self.width * self.channels;
        for window in self.done..self.down.count() {
            let (start, end) = (self.down.start(window), self.down.end(window));
            if start >= to {
                break;
            }
            let (first, last) = (start.max(from), end.min(to));
            let sums = &mut sums[window % *slots * length..][..length];
            let weights = &self.down.weights(window)[first - start..last - start];
            accumulate::<L>(&rows[(first - from) * stride..], stride, weights, sums, start >= from);
            if end > to {
                continue;
            }
            split::<i32>(
                sums,
                self.channels,
                &mut self.samples,
                self.sample_stride,
                |sums, samples| {
                    narrow::<L>(sums, samples);
                },
                |sum| ((sum + (1 << 6)) >> 7) as i16,
            );
            let at = self.finished.len();
            self.finished.resize(at + self.channels * self.columns, 0.0);
            for (samples, out) in
                self.samples.chunks_exact(self.sample_stride).zip(self.finished[at..].chunks_exact_mut(self.columns))
            {
                across::<L>(samples, &self.across, out);
            }
            self.done = window + 1;
        }
    }

    fn feed_across(&mut self, row: &[u8]) {
        let Order::AcrossFirst { recent } = &mut self.order else { unreachable!("asked before") };
        let length = self.channels * self.columns;
        let widen = |sample: u8| i16::from(sample) << FRACTION;
        let row = &row[..self.width * self.channels];
        split::<u8>(
            row,
            self.channels,
            &mut self.samples,
            self.sample_stride,
            |row, samples| {
                for (sample, to) in row.iter().zip(samples) {
                    *to = widen(*sample);
                }
            },
            widen,
        );
        let place = &mut recent[self.seen % RECENT * length..][..length];
        for (samples, out) in self.samples.chunks_exact(self.sample_stride).zip(place.chunks_exact_mut(self.columns)) {
            across::<L>(samples, &self.across, out);
        }
        self.seen += 1;
        while self.done < self.down.count() && self.down.end(self.done) <= self.seen {
            let at = self.finished.len();
            self.finished.resize(at + length, 0.0);
            let out = &mut self.finished[at..];
            let start = self.down.start(self.done);
            for (row, &weight) in (start..self.down.end(self.done)).zip(self.down.weights(self.done)) {
                let weight = f32::from(weight) * (1.0 / ONE as f32);
                let row = &recent[row % RECENT * length..][..length];
                for (sum, sample) in out.iter_mut().zip(row) {
                    *sum += sample * weight;
                }
            }
            self.done += 1;
        }
    }

    /// Rows of the result that are finished and not taken.
    pub(crate) fn ready(&self) -> usize {
        self.finished.len() / (self.channels * self.columns)
    }

    /// The channel of a row of the result that is ready, the oldest being 0.
    pub(crate) fn row(&self, ready: usize, channel: usize) -> &[f32] {
        let row = ready * self.channels + channel;
        &self.finished[row * self.columns..][..self.across.count()]
    }

    /// Forgets so many of the oldest rows that are ready.
    pub(crate) fn take(&mut self, rows: usize) {
        self.finished.drain(..rows * self.channels * self.columns);
    }
}

/// About how many bytes [`Resampler::new`] takes for an image of this size.
pub(crate) fn resampler_bytes(channels: usize, width: u64, height: u64, y: Axis) -> u64 {
    let scale = (height as f64 / y.full as f64).max(1.0);
    let slots = ((ROWS_AT_ONCE as f64 + 2.0 * scale + 2.0) / scale + 3.0).min(f64::from(y.count));
    (width as f64 * channels as f64 * (4.0 * slots + 4.0)) as u64 + 2 * height
}

/// Interleaved channels into a row for each, by `whole` where there is one and by `each` where there are three.
fn split<T: Copy>(
    from: &[T],
    channels: usize,
    to: &mut [i16],
    stride: usize,
    whole: impl Fn(&[T], &mut [i16]),
    each: impl Fn(T) -> i16,
) {
    if channels == 1 {
        return whole(from, &mut to[..from.len()]);
    }
    let (first, rest) = to.split_at_mut(stride);
    let (second, third) = rest.split_at_mut(stride);
    for (((pixel, first), second), third) in from.as_chunks::<3>().0.iter().zip(first).zip(second).zip(third) {
        (*first, *second, *third) = (each(pixel[0]), each(pixel[1]), each(pixel[2]));
    }
}
