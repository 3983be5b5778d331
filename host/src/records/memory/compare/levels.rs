//! Compares the levels of one factor within every stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_runtime::kind::StageName;
use serde::Serialize;

use super::samples::{Cell, Factor, Sample};
use super::sentence::{Verdict, sentence};
use super::standardise::{Sides, Standardised};

/// Maximum number of levels of one stage that are compared. The levels with the most bytes are chosen.
const MAX_LEVELS: usize = 8;
/// A difference below this share of the larger mean is negligible.
const NEGLIGIBLE: f64 = 0.01;

/// The body of `GET /v1/memory/compare`.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The factor whose levels are compared.
    pub by: Factor,
    /// One entry for each stage of each pipeline. If versions are compared, one entry for each plugin of each stage.
    pub stages: Vec<StageComparison>,
}

/// The levels of one stage and the differences between them.
#[derive(Debug, Serialize)]
pub struct StageComparison {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The stage.
    pub stage: StageName,
    /// The levels, those with the most bytes first.
    pub levels: Vec<Level>,
    /// The number of further levels that are not compared.
    pub levels_left_out: usize,
    /// One entry for every two of the levels.
    pub pairs: Vec<Pair>,
}

/// One level of a factor: one chip, version, caller or outcome.
#[derive(Debug, Serialize)]
pub struct Level {
    /// Its name.
    pub level: Arc<str>,
    /// Number of stage runs.
    pub runs: u64,
    /// Mean high-water mark in bytes.
    pub mean: f64,
    /// Highest high-water mark in bytes.
    pub max: u64,
}

/// Two levels. `more` is the one with the higher mean.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The level with the higher mean.
    pub more: Arc<str>,
    /// The level with the lower mean.
    pub less: Arc<str>,
    /// The difference of the two means in bytes.
    pub difference: f64,
    /// Standard error of `difference`, in bytes.
    pub standard_error: f64,
    /// The difference with the same mix of each single factor, then with the same mix of all factors together.
    pub standardised: Vec<Standardised>,
    /// The explanation: the factors whose mix explains the difference, or the compared factor itself. Empty if there is
    /// no difference or if the data does not explain it.
    pub explained_by: Vec<Factor>,
    /// The result as a sentence.
    pub sentence: String,
}

/// Compares the levels of `by` within every stage.
pub fn compare(by: Factor, samples: &[Sample]) -> Comparison {
    let mut stages: BTreeMap<(&str, &StageName, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        // Versions are compared only within one plugin, even if two plugins serve as the same stage.
        let plugin = if by == Factor::Version { &*sample.plugin } else { "" };
        stages.entry((&sample.pipeline, &sample.stage, plugin)).or_default().push(sample);
    }
    Comparison { by, stages: stages.into_values().map(|samples| stage(by, &samples)).collect() }
}

fn stage(by: Factor, samples: &[&Sample]) -> StageComparison {
    let mut levels: BTreeMap<&Arc<str>, Cell> = BTreeMap::new();
    for sample in samples {
        levels.entry(sample.level(by)).or_default().add(&sample.cell);
    }
    let mut levels: Vec<_> = levels.into_iter().collect();
    levels.sort_by_key(|(_, cell)| std::cmp::Reverse(cell.sum));
    let levels_left_out = levels.len().saturating_sub(MAX_LEVELS);
    levels.truncate(MAX_LEVELS);
    let mut pairs = Vec::new();
    for (at, (a, first)) in levels.iter().enumerate() {
        for (b, second) in &levels[at + 1..] {
            let (more, less) = if first.mean() >= second.mean() { (a, b) } else { (b, a) };
            let of = |level: &str| samples.iter().copied().filter(|sample| **sample.level(by) == *level).collect();
            pairs.push(pair(&Sides { by, more, less, higher: of(more), lower: of(less) }));
        }
    }
    let levels = levels
        .into_iter()
        .map(|(level, cell)| Level { level: Arc::clone(level), runs: cell.runs, mean: cell.mean(), max: cell.max })
        .collect();
    let Sample { pipeline, stage, .. } = samples[0];
    StageComparison { pipeline: Arc::clone(pipeline), stage: stage.clone(), levels, levels_left_out, pairs }
}

/// Computes the difference of two levels and its explanation.
fn pair(sides: &Sides<'_>) -> Pair {
    let [more, less] = sides.totals();
    let difference = more.mean() - less.mean();
    let standard_error = (more.variance() + less.variance()).sqrt();
    let confounders = sides.by.confounders();
    let standardised: Vec<_> = confounders
        .iter()
        .map(|factor| sides.standardised(std::slice::from_ref(factor), difference))
        .chain([sides.standardised(confounders, difference)])
        .collect();
    let is_none = difference <= 2.0 * standard_error || difference < NEGLIGIBLE * more.mean();
    let verdict = if is_none { Verdict::NoDifference } else { Verdict::of(&standardised) };
    let explained_by = match &verdict {
        Verdict::Mix(factors) => factors.clone(),
        Verdict::Itself => vec![sides.by],
        Verdict::NoDifference | Verdict::Partly | Verdict::Unclear => Vec::new(),
    };
    let sentence = sentence(sides, difference, &standardised, &verdict);
    let (more, less) = (Arc::clone(sides.more), Arc::clone(sides.less));
    Pair { more, less, difference, standard_error, standardised, explained_by, sentence }
}

#[cfg(test)]
mod tests {
    use plimsoll_runtime::cap::PAGE;

    use super::*;

    /// `runs` runs of `pages` pages each.
    fn sample(chip: &str, caller: &str, outcome: &str, runs: u64, pages: u64) -> Sample {
        let mut cell = Cell::default();
        (0..runs).for_each(|_| cell.record(pages * PAGE));
        let levels = [chip, "p@1", caller, outcome].map(Arc::from);
        Sample {
            pipeline: "p".into(),
            stage: plimsoll_runtime::kind::StageKind::Preprocess.into(),
            plugin: "p".into(),
            levels,
            cell,
        }
    }

    fn pair(by: Factor, samples: &[Sample]) -> Pair {
        compare(by, samples).stages.remove(0).pairs.remove(0)
    }

    #[test]
    fn a_difference_due_to_outcomes_and_callers_is_not_attributed_to_the_chip() {
        // 90 % of the images of X are malformed, and X sends 9 of 10 to b. The others send 2 % malformed images and use
        // both chips equally.
        let samples = [
            sample("b", "X", "invalid_input", 810, 60),
            sample("b", "X", "ok", 90, 20),
            sample("a", "X", "invalid_input", 90, 60),
            sample("a", "X", "ok", 10, 20),
            sample("b", "Y", "invalid_input", 20, 60),
            sample("b", "Y", "ok", 980, 20),
            sample("a", "Y", "invalid_input", 20, 60),
            sample("a", "Y", "ok", 980, 20),
        ];
        let pair = pair(Factor::Chip, &samples);
        assert_eq!((&*pair.more, &*pair.less), ("b", "a"));
        // By hand: b (830·60 + 1070·20)/1900, a (110·60 + 990·20)/1100 pages.
        let raw = (830.0 * 60.0 + 1070.0 * 20.0) / 1900.0 - (110.0 * 60.0 + 990.0 * 20.0) / 1100.0;
        assert!((pair.difference - raw * PAGE as f64).abs() < 1.0, "{pair:?}");
        for standard in &pair.standardised {
            assert!(standard.difference.expect("common").abs() < 1.0, "{standard:?}");
            assert!((standard.coverage - 1.0).abs() < 1e-9, "{standard:?}");
        }
        assert_eq!(pair.explained_by, [Factor::Outcome, Factor::Caller]);
        assert!(pair.sentence.ends_with("so outcome and caller, not the chip, explain it."), "{}", pair.sentence);
        assert!(pair.sentence.contains("47 % of the runs of b come from X, 9 % of those of a"), "{}", pair.sentence);
    }

    #[test]
    fn a_chip_that_needs_more_for_every_caller_is_named() {
        let samples = [
            sample("b", "X", "ok", 500, 40),
            sample("a", "X", "ok", 100, 20),
            sample("b", "Y", "ok", 100, 40),
            sample("a", "Y", "ok", 500, 20),
        ];
        let pair = pair(Factor::Chip, &samples);
        assert_eq!(pair.explained_by, [Factor::Chip]);
        assert!(pair.sentence.ends_with("so it is due to the chip itself."), "{}", pair.sentence);
        let same = [sample("b", "X", "ok", 50, 20), sample("a", "X", "ok", 50, 20)];
        assert!(self::pair(Factor::Chip, &same).sentence.contains("need the same"));
    }

    #[test]
    fn an_unclear_cause_is_reported_as_unclear() {
        // Each chip has its own caller, and all runs have the same outcome.
        let samples = [sample("b", "X", "ok", 100, 40), sample("a", "Y", "ok", 100, 20)];
        let pair = pair(Factor::Chip, &samples);
        assert!(pair.explained_by.is_empty(), "{pair:?}");
        assert!(pair.sentence.contains("do not show whether"), "{}", pair.sentence);
        // Half of the difference is due to the mix, half to the chip.
        let samples = [
            sample("b", "X", "ok", 50, 30),
            sample("b", "X", "trap", 50, 50),
            sample("a", "X", "ok", 90, 20),
            sample("a", "X", "trap", 10, 40),
        ];
        let pair = self::pair(Factor::Chip, &samples);
        assert!(pair.explained_by.is_empty() && pair.sentence.contains("explains one part"), "{}", pair.sentence);
    }

    #[test]
    fn strata_are_weighted_by_both_sides_together() {
        let samples = [
            sample("b", "X", "ok", 10, 30),
            sample("b", "X", "trap", 30, 50),
            sample("b", "X", "deadline", 20, 90),
            sample("a", "X", "ok", 50, 20),
            sample("a", "X", "trap", 10, 45),
        ];
        let pair = pair(Factor::Chip, &samples);
        let standard = &pair.standardised[0];
        assert_eq!(standard.same, [Factor::Outcome]);
        // 60 of the 100 runs in common strata differ by 10 pages, 40 by 5.
        let pages = standard.difference.expect("common strata") / PAGE as f64;
        assert!((pages - 8.0).abs() < 1e-9, "{pages}");
        assert!((standard.coverage - 100.0 / 120.0).abs() < 1e-9, "{standard:?}");
        assert_eq!(standard.standard_error, Some(0.0), "all runs of a stratum need the same memory");
        // (10·30 + 30·50 + 20·90) / 60 and (50·20 + 10·45) / 60 pages.
        assert!((pair.difference / PAGE as f64 - (60.0 - 1450.0 / 60.0)).abs() < 1e-9, "{pair:?}");
    }

    #[test]
    fn few_levels_are_compared_and_the_rest_is_counted() {
        let samples: Vec<_> = (1..=20).map(|n| sample("a", &format!("c{n}"), "ok", n, 20)).collect();
        let comparison = compare(Factor::Caller, &samples);
        let stage = &comparison.stages[0];
        assert_eq!((stage.levels.len(), stage.levels_left_out, stage.pairs.len()), (8, 12, 28));
        assert_eq!((&*stage.levels[0].level, stage.levels[0].runs), ("c20", 20));
        assert!("size".parse::<Factor>().expect_err("unknown").to_string().contains("`by=size`"));
    }
}
