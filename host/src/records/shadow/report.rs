//! The report of comparisons: the reply of `GET /v1/chips/compare`, and the table of `plimsoll replay`.

use std::collections::BTreeMap;

use plimsoll_runtime::comparison::Scores;
use serde::Serialize;

/// The figures of two chips.
#[derive(Debug, Clone, Serialize)]
pub struct PairReport {
    /// The pipeline.
    pub pipeline: String,
    /// The pipeline's version.
    pub version: String,
    /// The stage: `infer`, or the name of the step.
    pub stage: String,
    /// The chip that answers.
    pub chip: String,
    /// The shadow chip.
    pub shadow: String,
    /// Runs whose outputs were compared, all of them.
    pub compared: u64,
    /// Runs with an output that cannot be compared, by `name`, `shape`, `nan` or `infinite`.
    pub mismatched: BTreeMap<&'static str, u64>,
    /// Runs in which the shadow failed, by outcome.
    pub failed: BTreeMap<&'static str, u64>,
    /// Runs that were skipped, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// The mean time of the infer stage on both chips, over the runs that are compared.
    pub mean_seconds: MeanSeconds,
    /// The request with the largest relative difference.
    pub largest: Option<Largest>,
    /// The outputs by name.
    pub outputs: Vec<OutputReport>,
}

/// The mean time of the infer stage.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MeanSeconds {
    /// On the chip that answers.
    pub chip: f64,
    /// On the shadow chip, at its low priority.
    pub shadow: f64,
}

/// The request with the largest relative difference.
#[derive(Debug, Clone, Serialize)]
pub struct Largest {
    /// Its id.
    pub request: String,
    /// The item, from 0, if the stage runs for each item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// The difference.
    pub relative: f64,
}

/// The figures of one output.
#[derive(Debug, Clone, Serialize)]
pub struct OutputReport {
    /// Its name.
    pub name: String,
    /// How many times it was compared.
    pub compared: u64,
    /// The largest absolute difference.
    pub absolute: FigureReport,
    /// The largest difference, divided by the largest magnitude.
    pub relative: FigureReport,
    /// 1 minus the cosine.
    pub cosine_distance: FigureReport,
    /// The agreement of the best scores; `None` if the output has no scores.
    pub scores: Option<ScoresReport>,
}

/// The distribution of one figure.
#[derive(Debug, Clone, Serialize)]
pub struct FigureReport {
    /// The largest value.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The buckets that are not empty.
    pub histogram: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bucket {
    /// The largest value in it; `None` for the bucket above all others. The smallest is above the bucket before.
    pub up_to: Option<f64>,
    /// The number of values in it.
    pub count: u64,
}

/// The agreement of the best scores.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ScoresReport {
    /// The rows.
    pub rows: u64,
    /// The share of rows with the same best class.
    pub top1_agreement: Option<f64>,
    /// The share of rows whose best class is among the best five of the shadow; `None` if no row has more than five classes.
    pub top5_agreement: Option<f64>,
}

impl From<Scores> for ScoresReport {
    fn from(scores: Scores) -> Self {
        let share = |count: u64, rows: u64| (rows > 0).then(|| count as f64 / rows as f64);
        let (top1_agreement, top5_agreement) = (share(scores.top1, scores.rows), share(scores.top5, scores.wide));
        Self { rows: scores.rows, top1_agreement, top5_agreement }
    }
}
