//! The triangle filter: which samples make each pixel of the result, and with what weights.

use crate::geometry::Axis;

/// The sum of a window's weights. Fourteen bits leave a sum of bytes room in 32, and a weight room in 16.
pub(crate) const ONE: i32 = 1 << 14;

/// The windows of the shown pixels along one direction.
pub(crate) struct Windows {
    count: usize,
    /// Those after `count` round the number up to a multiple of four: the last window once more.
    starts: Vec<u32>,
    lengths: Vec<u32>,
    /// `span` for each of `starts`, those beyond a window's length are 0.
    weights: Vec<i16>,
    span: usize,
}

impl Windows {
    /// For `length` samples that stand for a side of `size` samples: the side of a plane that holds one sample for
    /// two pixels may be half a sample shorter than what is stored. A window's weights take a multiple of `group`
    /// places. Antialiased as Pillow's BILINEAR: the triangle widens with the reduction.
    pub(crate) fn new(size: f64, length: usize, axis: Axis, group: usize) -> Windows {
        let scale = size / axis.full as f64;
        let reach = scale.max(1.0);
        let count = axis.count as usize;
        let center = |index: usize| ((axis.start + index.min(count - 1) as u64) as f64 + 0.5) * scale;
        let all = 0..count.next_multiple_of(4);
        // The casts saturate at 0.
        let starts: Vec<_> =
            all.clone().map(|index| ((center(index) - reach + 0.5) as usize).min(length - 1) as u32).collect();
        let end = |start: u32, index| ((center(index) + reach + 0.5) as usize).clamp(start as usize + 1, length) as u32;
        let lengths: Vec<_> = starts.iter().zip(all).map(|(&start, index)| end(start, index) - start).collect();
        let span = (lengths.iter().max().map_or(1, |&most| most as usize)).next_multiple_of(group);
        let mut weights = vec![0; span * starts.len()];
        for (index, places) in weights.chunks_exact_mut(span).enumerate() {
            let start = starts[index] as usize;
            let center = center(index);
            let weight = |at: usize| {
                let weight = 1.0 - (at as f64 + 0.5 - center).abs() / reach;
                // Not `max`, which also minds NaN; nor below `round`: both are calls in WebAssembly.
                if weight > 0.0 { weight } else { 0.0 }
            };
            let samples = start..start + lengths[index] as usize;
            let sum: f64 = samples.clone().map(weight).sum();
            // The running sum is rounded, not each weight: so the weights add up to one, and where a window has
            // more samples than there are steps, every few of them still count.
            let mut running = 0.0;
            let mut given = 0;
            for (at, place) in samples.zip(places) {
                running += weight(at);
                let next = if sum > 0.0 { (running / sum * f64::from(ONE) + 0.5) as i32 } else { ONE };
                *place = (next - given) as i16;
                given = next;
            }
        }
        Windows { count, starts, lengths, weights, span }
    }

    /// How many pixels are shown.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The places for weights in each window.
    pub(crate) fn span(&self) -> usize {
        self.span
    }

    /// The first sample of a window.
    pub(crate) fn start(&self, window: usize) -> usize {
        self.starts[window] as usize
    }

    /// The sample after the last of a window.
    pub(crate) fn end(&self, window: usize) -> usize {
        (self.starts[window] + self.lengths[window]) as usize
    }

    /// All places for weights of a window.
    pub(crate) fn weights(&self, window: usize) -> &[i16] {
        &self.weights[window * self.span..][..self.span]
    }

    /// Four windows at a time: their first samples, and all their places for weights. The last four may show the last
    /// window more than once.
    pub(crate) fn fours(&self) -> impl Iterator<Item = (&[u32; 4], &[i16])> {
        self.starts.as_chunks().0.iter().zip(self.weights.chunks_exact(4 * self.span))
    }
}
