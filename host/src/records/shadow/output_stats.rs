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
    sum: f64,
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
        self.sum += value;
        self.max = self.max.max(value);
    }

    fn report(&self) -> FigureReport {
        let bounds = BOUNDS.map(Some).into_iter().chain([None]);
        let buckets = bounds.zip(self.counts).filter(|(_, count)| *count > 0);
        FigureReport {
            max: self.max,
            mean: if self.count == 0 { 0.0 } else { self.sum / self.count as f64 },
            histogram: buckets.map(|(up_to, count)| Bucket { up_to, count }).collect(),
        }
    }
}
