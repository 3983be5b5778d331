//! The triangle filter: the samples that contribute to each pixel of the result, and their weights.

use crate::geometry::Axis;

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
}

impl Windows {
    /// For `length` stored samples that represent a side of `size` samples. If a plane has one sample for two pixels,
    /// the side may be half a sample shorter than the stored samples. The number of weights of a window is rounded up
    /// to a multiple of `group`. Antialiased like Pillow's BILINEAR: the triangle widens in proportion to the
    /// reduction.
    pub(crate) fn new(size: f64, length: usize, axis: Axis, group: usize) -> Windows {
        let scale = size / axis.full as f64;
        let radius = scale.max(1.0);
        let count = axis.count as usize;
        let center = |index: usize| ((axis.start + index.min(count - 1) as u64) as f64 + 0.5) * scale;
        let all = 0..count.next_multiple_of(4);
        // The casts saturate at 0.
        let starts: Vec<_> =
            all.clone().map(|index| ((center(index) - radius + 0.5) as usize).min(length - 1) as u32).collect();
        let end =
            |start: u32, index| ((center(index) + radius + 0.5) as usize).clamp(start as usize + 1, length) as u32;
        let lengths: Vec<_> = starts.iter().zip(all).map(|(&start, index)| end(start, index) - start).collect();
        let span = (lengths.iter().max().map_or(1, |&most| most as usize)).next_multiple_of(group);
        let mut weights = vec![0; span * starts.len()];
        for (index, places) in weights.chunks_exact_mut(span).enumerate() {
            let start = starts[index] as usize;
            let center = center(index);
            let weight = |at: usize| {
                let weight = 1.0 - (at as f64 + 0.5 - center).abs() / radius;
                // Not `max`, which also handles NaN, and not `round` below: in WebAssembly both are function calls.
                if weight > 0.0 { weight } else { 0.0 }
            };
            let samples = start..start + lengths[index] as usize;
            let sum: f64 = samples.clone().map(weight).sum();
            // The running sum is rounded instead of each weight. So the weights add up to `ONE`, and if a window has
            // more samples than `ONE`, some samples still get a weight.
            let mut running = 0.0;
            let mut assigned = 0;
            for (at, place) in samples.zip(places) {
                running += weight(at);
                let next = if sum > 0.0 { (running / sum * f64::from(ONE) + 0.5) as i32 } else { ONE };
                *place = (next - assigned) as i16;
                assigned = next;
            }
        }
        Windows { count, starts, lengths, weights, span }
    }

    /// The number of visible pixels.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The number of weights of each window, including padding.
    pub(crate) fn span(&self) -> usize {
        self.span
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

    /// Groups of four windows: their first samples and all their weights, including padding. The last group may contain
    /// the last window more than once.
    pub(crate) fn groups_of_four(&self) -> impl Iterator<Item = (&[u32; 4], &[i16])> {
        self.starts.as_chunks().0.iter().zip(self.weights.chunks_exact(4 * self.span))
    }
}
