//! The figures of one output.

use plimsoll_runtime::comparison::{Figures, Scores};

use super::report::{Bucket, FigureReport, OutputReport, ScoresReport};

/// The upper bounds of the buckets: powers of ten.
const BOUNDS: [f64; 14] = [0.0, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// The figures of one output, over all comparisons.
#[derive(Debug, Clone, Default)]
pub(super) struct OutputStats {
    absolute: Distribution,
    relative: Distribution,
    cosine_distance: Distribution,
    scores: Option<Scores>,
}

/// The distribution of one figure.
#[derive(Debug, Clone, Default)]
struct Distribution {
    /// The values in each bucket, and above all of them.
    counts: [u64; BOUNDS.len() + 1],
    count: u64,
    /// Of the values so far. A sum of large differences could become infinite.
    mean: f64,
    max: f64,
}

impl OutputStats {
    pub(super) fn add(&mut self, figures: &Figures) {
        self.absolute.add(figures.absolute);
        self.relative.add(figures.relative);
        self.cosine_distance.add(figures.cosine_distance);
        if let Some(scores) = figures.scores {
            self.scores = Some(self.scores.unwrap_or_default().plus(scores));
        }
    }

    pub(super) fn report(&self, name: &str) -> OutputReport {
        OutputReport {
            name: name.to_owned(),
            compared: self.absolute.count,
            absolute: self.absolute.report(),
            relative: self.relative.report(),
            cosine_distance: self.cosine_distance.report(),
            scores: self.scores.map(ScoresReport::from),
        }
    }
}

impl Distribution {
    fn add(&mut self, value: f64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < value)] += 1;
        self.count += 1;
        let count = self.count as f64;
        self.mean += value / count - self.mean / count;
        self.max = self.max.max(value);
    }

    fn report(&self) -> FigureReport {
        let bounds = BOUNDS.map(Some).into_iter().chain([None]);
        let buckets = bounds.zip(self.counts).filter(|(_, count)| *count > 0);
        FigureReport {
            max: self.max,
            mean: self.mean,
            histogram: buckets.map(|(up_to, count)| Bucket { up_to, count }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_a_number_however_large_the_differences_are() {
        let mut distribution = Distribution::default();
        assert_eq!(distribution.report().mean, 0.0);
        for value in [1.0, 2.0, 6.0] {
            distribution.add(value);
        }
        assert!((distribution.report().mean - 3.0).abs() < 1e-12);
        (0..4).for_each(|_| distribution.add(f64::MAX));
        let FigureReport { mean, max, histogram } = distribution.report();
        assert!(mean.is_finite() && mean > 1e307, "{mean}");
        assert_eq!((max, histogram.last().map(|bucket| (bucket.up_to, bucket.count))), (f64::MAX, Some((None, 6))));
    }
}
