//! The triangle filter: which samples make each pixel of the result, and with what weights.

use crate::geometry::Axis;

/// The sum of a window's weights. Fourteen bits leave a sum of bytes room in 32, and a weight room in 16.
pub(crate) const ONE: i32 = 1 << 14;

/// The windows of the shown pixels along one direction.
pub(crate) struct Windows {
    starts: Vec<u32>,
    lengths: Vec<u32>,
    /// `span` for each window, those beyond its length are 0.
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
        let span = ((2.0 * reach).ceil() as usize + 2).min(length).next_multiple_of(group);
        let count = axis.count as usize;
        let mut windows = Windows {
            starts: Vec::with_capacity(count),
            lengths: Vec::with_capacity(count),
            weights: vec![0; span * count],
            span,
        };
        for (index, weights) in windows.weights.chunks_exact_mut(span).enumerate() {
            let center = ((axis.start + index as u64) as f64 + 0.5) * scale;
            // The casts saturate at 0.
            let start = ((center - reach + 0.5) as usize).min(length - 1);
            let end = ((center + reach + 0.5) as usize).clamp(start + 1, length.min(start + span));
            let weight = |at: usize| (1.0 - ((at as f64 + 0.5 - center) / reach).abs()).max(0.0);
            let sum: f64 = (start..end).map(weight).sum();
            // The running sum is rounded, not each weight: so the weights add up to one, and where a window has
            // more samples than there are steps, every few of them still count.
            let mut running = 0.0;
            let mut given = 0;
            for (at, place) in (start..end).zip(weights) {
                running += weight(at);
                let next = if sum > 0.0 { (running / sum * f64::from(ONE)).round() as i32 } else { ONE };
                *place = (next - given) as i16;
                given = next;
            }
            windows.starts.push(start as u32);
            windows.lengths.push((end - start) as u32);
        }
        windows
    }

    /// How many pixels are shown.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
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
}
