//! The triangle filter: the samples that contribute to each pixel of the result, and their weights.

use std::ops::Range;

use crate::geometry::Axis;

/// One direction of a plane of samples: `length` samples are stored, which represent a side of `size` samples or pixels.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) size: f64,
    pub(crate) length: usize,
    pub(crate) upsampling: Upsampling,
}

/// How the samples of a subsampled plane are converted to pixels before resizing. The windows include this step, so it
/// takes no time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upsampling {
    /// Not at all: `size` is the number of samples.
    None,
    /// Each sample is repeated for this number of pixels.
    Repeat(usize),
    /// Two pixels for each sample; a pixel has three quarters of its own sample and a quarter of the nearest neighbour.
    Triangle,
}

impl Side {
    /// A side with one sample per pixel.
    pub(crate) fn of(length: usize) -> Side {
        Side { size: length as f64, length, upsampling: Upsampling::None }
    }

    /// The number of pixels, or the number of samples if there is no upsampling.
    fn pixels(&self) -> usize {
        if self.upsampling == Upsampling::None { self.length } else { self.size as usize }
    }

    /// The first and the last sample that contribute to the pixels from `start` to before `end`.
    fn samples(&self, start: usize, end: usize) -> (usize, usize) {
        match self.upsampling {
            Upsampling::None => (start, end - 1),
            Upsampling::Repeat(pixels) => (start / pixels, (end - 1) / pixels),
            Upsampling::Triangle => (start.div_ceil(2).saturating_sub(1), (end / 2).min(self.length - 1)),
        }
    }

    /// Sets the shares of the samples from `first` on: spreads the weight of each pixel over its samples.
    #[inline(always)]
    fn spread(&self, shares: &mut [f64], first: usize, pixels: Range<usize>, weight: impl Fn(usize) -> f64) {
        match self.upsampling {
            Upsampling::None => {
                for (share, pixel) in shares.iter_mut().zip(pixels) {
                    *share = weight(pixel);
                }
            }
            Upsampling::Repeat(times) => {
                shares.fill(0.0);
                pixels.for_each(|pixel| shares[pixel / times - first] += weight(pixel));
            }
            Upsampling::Triangle => {
                shares.fill(0.0);
                for pixel in pixels {
                    let (weight, sample) = (weight(pixel), pixel / 2);
                    let after = (sample + 1).min(self.length - 1);
                    let neighbour = if pixel.is_multiple_of(2) { sample.saturating_sub(1) } else { after };
                    shares[sample - first] += 0.75 * weight;
                    shares[neighbour - first] += 0.25 * weight;
                }
            }
        }
    }
}

/// The sum of a window's weights. With 14 fraction bits, a weighted sum of bytes fits into 32 bits and a weight into
/// 16.
pub(crate) const ONE: i32 = 1 << 14;

/// The windows of the visible pixels along one direction.
pub(crate) struct Windows {
    count: usize,
    /// The first sample of each window. The number of entries is rounded up to a multiple of four; the entries after
    /// `count` repeat the last window.
    starts: Vec<u32>,
    lengths: Vec<u32>,
    /// `span` weights for each of `starts`; those beyond a window's length are 0.
    weights: Vec<i16>,
    span: usize,
    longest: usize,
}

impl Windows {
    /// If a plane has one sample for two pixels, its side may be half a sample shorter than the stored samples. If
    /// `padded`, the number of weights of a window is rounded up to 4 or to a multiple of 8, the lanes of half a vector
    /// and of a vector. Antialiased like Pillow's BILINEAR: the triangle widens in proportion to the reduction.
    pub(crate) fn new(side: Side, axis: Axis, padded: bool) -> Windows {
        let scale = side.size / axis.full as f64;
        let radius = scale.max(1.0);
        let length = side.pixels();
        let count = axis.count as usize;
        let center = |index: usize| ((axis.start + index.min(count - 1) as u64) as f64 + 0.5) * scale;
        // The casts saturate at 0.
        let window = |index: usize| {
            let start = ((center(index) - radius + 0.5) as usize).min(length - 1);
            (start, ((center(index) + radius + 0.5) as usize).clamp(start + 1, length))
        };
        let pixels: Vec<_> = (0..count.next_multiple_of(4)).map(window).collect();
        let samples = |&(start, end): &(usize, usize)| side.samples(start, end);
        let starts: Vec<_> = pixels.iter().map(|pixels| samples(pixels).0 as u32).collect();
        let lengths: Vec<_> = pixels.iter().map(samples).map(|(first, last)| (last - first + 1) as u32).collect();
        let longest = lengths.iter().max().map_or(1, |&most| most as usize);
        let span = match longest {
            _ if !padded => longest,
            ..=4 => 4,
            _ => longest.next_multiple_of(8),
        };
        let mut weights = vec![0; span * starts.len()];
        let mut shares = vec![0.0; longest];
        for (index, places) in weights.chunks_exact_mut(span).enumerate() {
            let shares = &mut shares[..lengths[index] as usize];
            let center = center(index);
            let (start, end) = pixels[index];
            side.spread(shares, starts[index] as usize, start..end, |pixel| {
                let weight = 1.0 - (pixel as f64 + 0.5 - center).abs() / radius;
                // Not `max`, which also handles NaN, and not `round` below: in WebAssembly both are function calls.
                if weight > 0.0 { weight } else { 0.0 }
            });
            let sum: f64 = shares.iter().sum();
            // The running sum is rounded instead of each weight. So the weights add up to `ONE`, and if a window has
            // more samples than `ONE`, some samples still get a weight.
            let mut running = 0.0;
            let mut assigned = 0;
            for (share, place) in shares.iter().zip(places) {
                running += share;
                let next = if sum > 0.0 { (running / sum * f64::from(ONE) + 0.5) as i32 } else { ONE };
                *place = (next - assigned) as i16;
                assigned = next;
            }
        }
        Windows { count, starts, lengths, weights, span, longest }
    }

    /// The number of visible pixels.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The number of weights of each window, including padding.
    pub(crate) fn span(&self) -> usize {
        self.span
    }

    /// The number of samples of the longest window.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The first sample of a window.
    pub(crate) fn start(&self, window: usize) -> usize {
        self.starts[window] as usize
    }

    /// The sample after the last sample of a window.
    pub(crate) fn end(&self, window: usize) -> usize {
        (self.starts[window] + self.lengths[window]) as usize
    }

    /// All weights of a window, including padding.
    pub(crate) fn weights(&self, window: usize) -> &[i16] {
        &self.weights[window * self.span..][..self.span]
    }

    /// The windows that overlap a range of samples; the first one is rounded down to a multiple of four.
    pub(crate) fn overlapping(&self, samples: Range<usize>) -> Range<usize> {
        let starts = &self.starts[..self.count];
        let end = starts.partition_point(|start| (*start as usize) < samples.end);
        // Not `lengths`, so that the windows are in order: the padding has weights of 0.
        let first = starts.partition_point(|start| *start as usize + self.longest <= samples.start);
        first.min(end) / 4 * 4..end
    }

    /// Groups of four windows: their first samples and all their weights, including padding. The last group may contain
    /// the last window more than once.
    pub(crate) fn groups_of_four(&self) -> impl Iterator<Item = (&[u32; 4], &[i16])> {
        self.starts.as_chunks().0.iter().zip(self.weights.chunks_exact(4 * self.span))
    }
}
