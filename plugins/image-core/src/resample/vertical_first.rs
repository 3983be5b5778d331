//! The order for images whose height shrinks: rows are added to the sums of their windows, and each finished sum is
//! filtered horizontally.

use super::common::Common;
use crate::kernels::{accumulate, filter_columns, narrow};
use crate::lanes::Lanes;
use crate::windows::Windows;

/// The number of rows that are added up at once. It limits the number of unfinished rows of the result.
pub(super) const ROWS_AT_ONCE: usize = 16;

/// The unfinished rows of the result.
pub(super) struct VerticalFirst {
    /// `slots` rows of sums, used as a ring.
    sums: Vec<i32>,
    slots: usize,
}

impl VerticalFirst {
    /// `scale` is the number of rows of the image for each row of the result, `length` the number of samples in a row.
    pub(super) fn new(vertical: &Windows, scale: f64, length: usize) -> Self {
        let alive = (ROWS_AT_ONCE + vertical.longest()) as f64 / scale;
        let slots = (alive.ceil() as usize + 3).min(vertical.count());
        Self { sums: vec![0; slots * length], slots }
    }

    /// Processes the next `count` rows, which start `stride` bytes apart.
    pub(super) fn feed<L: Lanes>(&mut self, common: &mut Common, rows: &[u8], stride: usize, count: usize) {
        for first in (0..count).step_by(ROWS_AT_ONCE) {
            self.feed_group::<L>(common, &rows[first * stride..], stride, ROWS_AT_ONCE.min(count - first));
        }
    }

    fn feed_group<L: Lanes>(&mut self, common: &mut Common, rows: &[u8], stride: usize, count: usize) {
        let Common { horizontal, vertical, samples, finished, seen, done } = common;
        let (from, to) = (*seen, *seen + count);
        *seen = to;
        let length = samples.length();
        for window in *done..vertical.count() {
            let (start, end) = (vertical.start(window), vertical.end(window));
            if start >= to {
                break;
            }
            let (first, last) = (start.max(from), end.min(to));
            let weights = &vertical.weights(window)[first - start..last - start];
            let rows = &rows[(first - from) * stride..];
            if samples.planar && start >= from && end <= to && weights.len() <= 8 {
                let width = samples.width();
                for (channel, samples) in samples.channels().enumerate() {
                    filter_columns::<L>(&rows[channel * width..], stride, weights, samples);
                }
            } else {
                let sums = &mut self.sums[window % self.slots * length..][..length];
                accumulate::<L>(rows, stride, weights, sums, start >= from);
                if end > to {
                    continue;
                }
                samples.set::<i32>(
                    sums,
                    |sums, samples| {
                        narrow::<L>(sums, samples);
                    },
                    |sum| ((sum + (1 << 6)) >> 7) as i16,
                );
            }
            samples.filter::<L>(horizontal, finished.next_row());
            *done = window + 1;
        }
    }
}
