//! How many buckets the histograms of `/metrics` have.

use super::{Config, Pipeline};
use crate::records::metrics::Buckets;

/// Most histograms with fine buckets, of 3.2 KB each, and with coarse ones, of 1.5 KB, so that `/metrics` has at most about 1 MB
/// without compression.
const MOST_FINE: usize = 300;
const MOST_COARSE: usize = 650;

impl Config {
    /// The buckets of the histograms of `/metrics`: as configured, or by the number of histograms that the pipelines have once
    /// each of their stages ran on each chip. That number is given too, if it decides.
    pub fn metric_buckets(&self) -> (Buckets, Option<usize>) {
        match self.server.metric_buckets {
            Some(buckets) => (buckets, None),
            None => {
                let histograms = self.pipelines.values().map(histograms).sum();
                (by_number(histograms), Some(histograms))
            }
        }
    }
}

fn by_number(histograms: usize) -> Buckets {
    match histograms {
        ..=MOST_FINE => Buckets::Fine,
        ..=MOST_COARSE => Buckets::Coarse,
        _ => Buckets::None,
    }
}

/// The time in the queue; for each chip the time of requests; and of each stage the time and the memory.
fn histograms(pipeline: &Pipeline) -> usize {
    let stages = if pipeline.steps.is_empty() { 3 } else { pipeline.steps.len() };
    1 + pipeline.chip_names().len().max(1) * (1 + 2 * stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_histograms_have_fewer_buckets() {
        assert_eq!([0, 300].map(by_number), [Buckets::Fine; 2]);
        assert_eq!([301, 650].map(by_number), [Buckets::Coarse; 2]);
        assert_eq!([651, 4_000].map(by_number), [Buckets::None; 2]);
    }
}
