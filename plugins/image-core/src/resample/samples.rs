//! One row of samples for each channel, the input of the horizontal filter.

use crate::kernels::filter_row;
use crate::lanes::Lanes;
use crate::windows::Windows;

/// A row of samples for each channel.
pub(super) struct Samples {
    samples: Vec<i16>,
    stride: usize,
    /// The samples of a channel, including the padding of the image, but not that of the filter.
    width: usize,
    channels: usize,
    /// True if a row has one channel after the other, false if it has one pixel after the other.
    pub(super) planar: bool,
}

impl Samples {
    /// `span` is the longest window.
    pub(super) fn new(channels: usize, width: usize, span: usize) -> Self {
        let stride = width + span + 8;
        Self { samples: vec![0; channels * stride], stride, width, channels, planar: channels == 1 }
    }

    /// The samples of a channel, including the padding of the image.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The samples of all channels in a row.
    pub(super) fn length(&self) -> usize {
        self.width * self.channels
    }

    /// The samples of each channel, without the padding for the filter.
    pub(super) fn channels(&mut self) -> impl Iterator<Item = &mut [i16]> {
        let width = self.width;
        self.samples.chunks_exact_mut(self.stride).map(move |samples| &mut samples[..width])
    }

    /// Converts a row. `whole` converts a channel if the row is planar, and `each` converts every sample of three
    /// interleaved channels.
    pub(super) fn set<T: Copy>(&mut self, row: &[T], whole: impl Fn(&[T], &mut [i16]), each: impl Fn(T) -> i16) {
        if self.planar {
            let width = self.width;
            for (row, samples) in row.chunks_exact(width).zip(self.channels()) {
                whole(row, samples);
            }
            return;
        }
        let (first, rest) = self.samples.split_at_mut(self.stride);
        let (second, third) = rest.split_at_mut(self.stride);
        for (((pixel, first), second), third) in row.as_chunks::<3>().0.iter().zip(first).zip(second).zip(third) {
            (*first, *second, *third) = (each(pixel[0]), each(pixel[1]), each(pixel[2]));
        }
    }

    /// Filters the row horizontally. It has one channel or three.
    pub(super) fn filter<L: Lanes>(&self, windows: &Windows, out: &mut [f32]) {
        let (samples, stride) = (&self.samples[..], self.stride);
        if samples.len() == stride {
            return filter_row::<L, 1>([samples], windows, [out]);
        }
        let columns = out.len() / 3;
        let (first, rest) = out.split_at_mut(columns);
        let (second, third) = rest.split_at_mut(columns);
        let row = [&samples[..stride], &samples[stride..2 * stride], &samples[2 * stride..]];
        filter_row::<L, 3>(row, windows, [first, second, third]);
    }
}
