//! Resizes rows as they arrive. Instead of the image, only one row of sums is stored for each unfinished row of the
//! result.
//!
//! If the height shrinks, the vertical filter runs first, and the horizontal filter runs once for each finished sum. If
//! the height grows, the horizontal filter runs once for each row, and the last few rows are combined into each row of
//! the result, because there would be more sums than rows.

mod common;
mod estimates;
mod finished;
mod horizontal_first;
mod samples;
mod sparse;
mod vertical_first;

use std::marker::PhantomData;
use std::rc::Rc;

use crate::geometry::Axis;
use crate::lanes::Lanes;
use crate::windows::Windows;
pub(crate) use crate::windows::{Side, Upsampling};
use common::Common;
pub(crate) use estimates::{resampler_bytes, result_bytes};
use finished::FinishedRows;
use horizontal_first::HorizontalFirst;
use samples::Samples;
pub(crate) use sparse::{SparseResampler, TILE_COLUMNS, TILE_ROWS, Tile, sparse_bytes};
use vertical_first::VerticalFirst;

/// Resizes a plane with one or three channels to its size in the input.
pub(crate) struct Resampler<L> {
    height: usize,
    common: Common,
    order: Order,
    lanes: PhantomData<L>,
}

enum Order {
    VerticalFirst(VerticalFirst),
    HorizontalFirst(HorizontalFirst),
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
        let scale = height.length as f64 / y.full as f64;
        let samples = Samples::new(channels, stored, horizontal.span());
        let finished = FinishedRows::new(channels, horizontal.count());
        let order = if scale >= 1.0 {
            Order::VerticalFirst(VerticalFirst::new(&vertical, scale, samples.length()))
        } else {
            Order::HorizontalFirst(HorizontalFirst::new(&vertical, finished.length()))
        };
        let common = Common { horizontal, vertical, samples, finished, seen: 0, done: 0 };
        Resampler { height: height.length, common, order, lanes: PhantomData }
    }

    /// Like [`Resampler::new`], for rows with one channel after the other.
    pub(crate) fn planar(channels: usize, stored: usize, width: Side, height: Side, x: Axis, y: Axis) -> Self {
        let mut resampler = Resampler::new(channels, stored, width, height, x, y);
        resampler.common.samples.planar = true;
        resampler
    }

    /// The horizontal and vertical windows.
    pub(crate) fn windows(&self) -> [Rc<Windows>; 2] {
        [self.common.horizontal.clone(), self.common.vertical.clone()]
    }

    /// Processes the next rows, which start `stride` bytes apart. Rows beyond the height are padding and ignored.
    pub(crate) fn feed(&mut self, rows: &[u8], stride: usize, count: usize) {
        let count = count.min(self.height - self.common.seen);
        match &mut self.order {
            Order::VerticalFirst(order) => order.feed::<L>(&mut self.common, rows, stride, count),
            Order::HorizontalFirst(order) => {
                (0..count).for_each(|row| order.feed::<L>(&mut self.common, &rows[row * stride..]));
            }
        }
    }

    /// True if the height grows.
    pub(crate) fn grows(&self) -> bool {
        matches!(self.order, Order::HorizontalFirst(_))
    }

    /// The number of finished rows of the result that were not discarded yet.
    pub(crate) fn ready(&self) -> usize {
        self.common.finished.ready()
    }

    /// One channel of a finished row of the result; row 0 is the oldest.
    pub(crate) fn row(&self, ready: usize, channel: usize) -> &[f32] {
        self.common.finished.row(ready, channel)
    }

    /// Discards the given number of finished rows, oldest first.
    pub(crate) fn discard_rows(&mut self, rows: usize) {
        self.common.finished.discard(rows);
    }
}
