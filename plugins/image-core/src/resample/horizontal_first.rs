//! The order for images whose height grows: each row is filtered horizontally, and the last few rows are combined into
//! each row of the result.

use super::common::Common;
use crate::kernels::FRACTION;
use crate::lanes::Lanes;
use crate::windows::{ONE, Windows};

/// The last `rows` rows, resized horizontally; as many as the longest window has.
pub(super) struct HorizontalFirst {
    recent: Vec<f32>,
    rows: usize,
}

impl HorizontalFirst {
    /// `length` is the number of floats in a resized row.
    pub(super) fn new(vertical: &Windows, length: usize) -> Self {
        let rows = vertical.longest();
        Self { recent: vec![0.0; rows * length], rows }
    }

    /// Processes the next row.
    pub(super) fn feed<L: Lanes>(&mut self, common: &mut Common, row: &[u8]) {
        let Common { horizontal, vertical, samples, finished, seen, done } = common;
        let length = finished.length();
        let widen = |sample: u8| i16::from(sample) << FRACTION;
        samples.set::<u8>(
            &row[..samples.length()],
            |row, samples| {
                for (sample, to) in row.iter().zip(samples) {
                    *to = widen(*sample);
                }
            },
            widen,
        );
        samples.filter::<L>(horizontal, &mut self.recent[*seen % self.rows * length..][..length]);
        *seen += 1;
        while *done < vertical.count() && vertical.end(*done) <= *seen {
            let out = finished.next_row();
            out.fill(0.0);
            for (row, &weight) in (vertical.start(*done)..vertical.end(*done)).zip(vertical.weights(*done)) {
                let weight = f32::from(weight) * (1.0 / ONE as f32);
                let row = &self.recent[row % self.rows * length..][..length];
                for (sum, sample) in out.iter_mut().zip(row) {
                    *sum += sample * weight;
                }
            }
            *done += 1;
        }
    }
}
