//! Is a difference in memory due to the chip, or to the mix of inputs?
//!
//! Mean high-water marks of two levels (two chips, two versions …) are compared as they are, and by direct
//! standardisation, as epidemiology compares death rates of populations of different age (Rothman, Lash, VanderWeele and
//! Haneuse, "Modern Epidemiology", 4th edition, chapter 3): within each stratum (outcome, caller …) that occurs on both
//! sides, weighted by the stratum's share of both sides' runs together. What remains of the difference is not due to
//! the mix of strata; what goes away is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::marks::PAGE;

/// Levels of one stage that are compared with each other: those with the most bytes.
const MAX_LEVELS: usize = 8;
/// A factor explains a difference if so much of it goes away with the factor's mix.
const EXPLAINS: f64 = 0.8;
/// And the compared levels do themselves where no more than this goes away.
const EXPLAINS_NOT: f64 = 0.2;
/// A difference below this share of the larger mean is none.
const NEGLIGIBLE: f64 = 0.01;
/// A standardised difference speaks for all runs only if the common strata hold so many of them.
const MIN_COVERAGE: f64 = 0.5;

/// What memory is compared by, and what a mix can be a mix of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// The chip that the request was routed to.
    Chip,
    /// Plugin, version and digest.
    Version,
    /// The caller, by the configured header.
    Caller,
    /// How the stage ended.
    Outcome,
}

impl Factor {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chip, Self::Version, Self::Caller, Self::Outcome];

    /// The word for it in the query and in sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chip => "chip",
            Self::Version => "version",
            Self::Caller => "caller",
            Self::Outcome => "outcome",
        }
    }

    /// What may lie behind a difference between levels of this factor. Two chips may well have two versions of an
    /// infer plugin, and then no stratum is common; so a version lies behind nothing.
    fn confounders(self) -> &'static [Self] {
        match self {
            Self::Chip => &[Self::Outcome, Self::Caller],
            Self::Version => &[Self::Outcome, Self::Caller, Self::Chip],
            Self::Caller => &[Self::Outcome, Self::Chip],
            Self::Outcome => &[Self::Caller, Self::Chip],
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|factor| factor.as_str() == text);
        known.ok_or_else(|| {
            format!("`by={text}` is nothing to compare by; write one of `chip`, `version`, `caller` and `outcome`")
        })
    }
}

/// High-water marks of the stage runs that are alike in everything that is told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cell {
    /// Stage runs.
    pub runs: u64,
    /// In pages, for the mean.
    sum: u64,
    /// In pages squared, for the standard error.
    squares: f64,
    /// In bytes.
    max: u64,
}

impl Cell {
    /// Counts one run with its high-water mark in bytes.
    pub fn record(&mut self, high_water: u64) {
        let pages = high_water.div_ceil(PAGE);
        self.runs += 1;
        self.sum += pages;
        self.squares += (pages * pages) as f64;
        self.max = self.max.max(high_water);
    }

    /// Takes over what another cell counted.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.sum += other.sum;
        self.squares += other.squares;
        self.max = self.max.max(other.max);
    }

    /// Bytes.
    fn mean(&self) -> f64 {
        self.sum as f64 * PAGE as f64 / self.runs.max(1) as f64
    }

    /// The variance of the mean, in bytes squared.
    fn variance(&self) -> f64 {
        let runs = self.runs.max(1) as f64;
        let mean = self.sum as f64 / runs;
        let page = PAGE as f64;
        (self.squares / runs - mean * mean).max(0.0) * page * page / (runs - 1.0).max(1.0)
    }
}

/// A cell, and what it is told apart by.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
    /// The plugin.
    pub plugin: Arc<str>,
    /// The level of each factor, in the order of [`Factor::ALL`].
    pub levels: [Arc<str>; 4],
    /// The runs.
    pub cell: Cell,
}

impl Sample {
    fn level(&self, factor: Factor) -> &Arc<str> {
        &self.levels[factor as usize]
    }
}

/// The body of `GET /v1/memory/compare`.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub by: Factor,
    /// One for each stage of each pipeline; for versions, of each plugin.
    pub stages: Vec<StageComparison>,
}

/// The levels of one stage and the differences between them.
#[derive(Debug, Serialize)]
pub struct StageComparison {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
    /// The levels, those with the most bytes first.
    pub levels: Vec<Level>,
    /// How many more levels there are, which are not compared.
    pub levels_left_out: usize,
    /// Every two of the levels.
    pub pairs: Vec<Pair>,
}

/// One chip, version, caller or outcome.
#[derive(Debug, Serialize)]
pub struct Level {
    /// Its name.
    pub level: Arc<str>,
    /// Stage runs.
    pub runs: u64,
    /// Mean high-water mark in bytes.
    pub mean: f64,
    /// Highest mark in bytes.
    pub max: u64,
}

/// Two levels, `more` being the one with the higher mean.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The level with the higher mean.
    pub more: Arc<str>,
    /// The other.
    pub less: Arc<str>,
    /// How much higher the mean is, in bytes.
    pub difference: f64,
    /// Standard error of `difference`, in bytes.
    pub standard_error: f64,
    /// The difference with the same mix of each factor, and of all of them.
    pub standardised: Vec<Standardised>,
    /// What explains the difference: factors whose mix does, or what is compared itself; empty where there is no
    /// difference or it cannot be told.
    pub explained_by: Vec<Factor>,
    /// All of this in a sentence.
    pub sentence: String,
}

/// A difference of means with the same mix of some factors on both sides.
#[derive(Debug, Serialize)]
pub struct Standardised {
    /// The factors.
    pub same: Vec<Factor>,
    /// Bytes by which `more` needs more (negative: less); absent where no stratum occurs on both sides.
    pub difference: Option<f64>,
    /// Its standard error in bytes.
    pub standard_error: Option<f64>,
    /// The share of both sides' runs that are in strata that occur on both; the rest is not compared.
    pub coverage: f64,
    /// The share of the raw difference that goes away.
    pub explained: Option<f64>,
}

/// Compares the levels of `by` within every stage.
pub fn compare(by: Factor, samples: &[Sample]) -> Comparison {
    let mut stages: BTreeMap<(&str, usize, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let order = ["preprocess", "infer", "postprocess"].iter().position(|stage| *stage == sample.stage);
        // Versions of two plugins that take the same place are no versions of each other.
        let plugin = if by == Factor::Version { &*sample.plugin } else { "" };
        stages.entry((&sample.pipeline, order.unwrap_or(3), plugin)).or_default().push(sample);
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
            pairs.push(Sides { by, more, less, mores: of(more), lesses: of(less) }.pair());
        }
    }
    let levels = levels
        .into_iter()
        .map(|(level, cell)| Level { level: Arc::clone(level), runs: cell.runs, mean: cell.mean(), max: cell.max })
        .collect();
    let Sample { pipeline, stage, .. } = samples[0];
    StageComparison { pipeline: Arc::clone(pipeline), stage, levels, levels_left_out, pairs }
}

/// Two levels with their samples.
struct Sides<'a> {
    by: Factor,
    more: &'a Arc<str>,
    less: &'a Arc<str>,
    mores: Vec<&'a Sample>,
    lesses: Vec<&'a Sample>,
}

type Strata<'a> = BTreeMap<Vec<&'a str>, Cell>;

fn strata<'a>(samples: &[&'a Sample], factors: &[Factor]) -> Strata<'a> {
    let mut strata = Strata::new();
    for sample in samples {
        let stratum = factors.iter().map(|factor| &**sample.level(*factor)).collect();
        strata.entry(stratum).or_default().add(&sample.cell);
    }
    strata
}

impl Sides<'_> {
    fn pair(&self) -> Pair {
        let [more, less] =
            [&self.mores, &self.lesses].map(|side| strata(side, &[]).remove(&vec![]).unwrap_or_default());
        let difference = more.mean() - less.mean();
        let standard_error = (more.variance() + less.variance()).sqrt();
        let confounders = self.by.confounders();
        let standardised: Vec<_> = confounders
            .iter()
            .map(|factor| self.standardised(std::slice::from_ref(factor), difference))
            .chain([self.standardised(confounders, difference)])
            .collect();
        let is_none = difference <= 2.0 * standard_error || difference < NEGLIGIBLE * more.mean();
        let verdict = if is_none { Verdict::NoDifference } else { Verdict::of(&standardised) };
        let explained_by = match &verdict {
            Verdict::Mix(factors) => factors.clone(),
            Verdict::Itself => vec![self.by],
            Verdict::NoDifference | Verdict::Partly | Verdict::CannotTell => Vec::new(),
        };
        let sentence = self.sentence(difference, &standardised, &verdict);
        let (more, less) = (Arc::clone(self.more), Arc::clone(self.less));
        Pair { more, less, difference, standard_error, standardised, explained_by, sentence }
    }

    fn standardised(&self, factors: &[Factor], raw: f64) -> Standardised {
        let (mores, lesses) = (strata(&self.mores, factors), strata(&self.lesses, factors));
        let all: u64 = mores.values().chain(lesses.values()).map(|cell| cell.runs).sum();
        let common: Vec<_> = mores.iter().filter_map(|(key, more)| Some((more, lesses.get(key)?))).collect();
        let inside: u64 = common.iter().map(|(more, less)| more.runs + less.runs).sum();
        let (mut difference, mut variance) = (0.0, 0.0);
        for (more, less) in &common {
            let weight = (more.runs + less.runs) as f64 / inside as f64;
            difference += weight * (more.mean() - less.mean());
            variance += weight * weight * (more.variance() + less.variance());
        }
        let is_known = !common.is_empty();
        Standardised {
            same: factors.to_vec(),
            difference: is_known.then_some(difference),
            standard_error: is_known.then(|| variance.sqrt()),
            coverage: inside as f64 / all.max(1) as f64,
            explained: (is_known && raw > 0.0).then(|| 1.0 - difference / raw),
        }
    }

    /// The level of a factor whose share differs most between the sides, with its shares on both.
    fn most_different(&self, factor: Factor) -> Option<(String, f64, f64)> {
        let shares = |samples: &[&Sample]| {
            let strata = strata(samples, &[factor]);
            let all: u64 = strata.values().map(|cell| cell.runs).sum();
            strata.into_iter().map(|(key, cell)| (key[0].to_owned(), cell.runs as f64 / all.max(1) as f64)).collect()
        };
        let (mores, lesses): (BTreeMap<String, f64>, BTreeMap<_, _>) = (shares(&self.mores), shares(&self.lesses));
        let share = |side: &BTreeMap<String, f64>, level: &String| side.get(level).copied().unwrap_or(0.0);
        let levels: BTreeSet<_> = mores.keys().chain(lesses.keys()).collect();
        // What `more` has more of is what makes it need more.
        let by_share = |a: &f64, b: &f64| a.total_cmp(b);
        let level = levels.into_iter().max_by(|a, b| {
            by_share(&(share(&mores, a) - share(&lesses, a)), &(share(&mores, b) - share(&lesses, b)))
        })?;
        Some((level.clone(), share(&mores, level), share(&lesses, level)))
    }

    fn sentence(&self, raw: f64, standardised: &[Standardised], verdict: &Verdict) -> String {
        let Self { by, more, less, .. } = self;
        let (a, b) = (format!("{by} {more}"), format!("{by} {less}"));
        if *verdict == Verdict::NoDifference {
            return format!("{a} and {b} need the same: their means differ by {} bytes.", grouped(raw));
        }
        let mut parts = Vec::new();
        for standard in standardised.iter().filter(|standard| standard.same.len() == 1) {
            let factor = standard.same[0];
            let shares = self.most_different(factor).map_or_else(String::new, |(level, high, low)| {
                let what = match factor {
                    Factor::Outcome => "end in ",
                    Factor::Caller => "come from ",
                    Factor::Chip => "are on ",
                    Factor::Version => "are of ",
                };
                format!(" ({} of the runs of {more} {what}{level}, {} of those of {less})", percent(high), percent(low))
            });
            parts.push(match standard.explained {
                Some(_) if standard.coverage < MIN_COVERAGE => {
                    format!(
                        "the mix of {factor}s can be compared for only {} of the runs{shares}",
                        percent(standard.coverage)
                    )
                }
                Some(share) => format!("the mix of {factor}s explains {}{shares}", percent(share.clamp(0.0, 1.0))),
                None => format!("the mix of {factor}s cannot be compared, for they have none in common{shares}"),
            });
        }
        let all = standardised.last();
        let remains = all.and_then(|all| all.difference.filter(|_| all.coverage >= MIN_COVERAGE));
        let remains = remains.map_or_else(String::new, |rest| {
            let direction = if rest < 0.0 { "less" } else { "more" };
            format!("; with the same mix of all of them {a} needs {} bytes {direction} than {b}", grouped(rest.abs()))
        });
        let end = match verdict {
            Verdict::Mix(factors) => {
                let names: Vec<_> = factors.iter().map(|factor| factor.as_str()).collect();
                let verb = if names.len() == 1 { "explains" } else { "explain" };
                format!("so {}, not the {by}, {verb} it", names.join(" and "))
            }
            Verdict::Itself => format!("so it is due to the {by} itself"),
            Verdict::Partly => format!("so the mix explains a part, and the {by} the rest"),
            Verdict::CannotTell => format!("so whether it is due to the {by} cannot be told from these requests"),
            Verdict::NoDifference => unreachable!("answered above"),
        };
        format!("Of the {} bytes that {a} needs more than {b}, {}{remains}; {end}.", grouped(raw), parts.join(", "))
    }
}

/// What explains a difference.
#[derive(Debug, PartialEq)]
enum Verdict {
    NoDifference,
    Mix(Vec<Factor>),
    Itself,
    Partly,
    CannotTell,
}

impl Verdict {
    /// `standardised` has an entry for each factor, then one for all of them.
    fn of(standardised: &[Standardised]) -> Self {
        let told = |standard: &&Standardised| standard.explained.is_some() && standard.coverage >= MIN_COVERAGE;
        let explains = |standard: &&Standardised| {
            let noise = standard.standard_error.unwrap_or(0.0) * 2.0;
            // What is left of most of it may be chance.
            let is_chance = standard.difference.is_some_and(|rest| rest.abs() <= noise);
            standard.explained.is_some_and(|share| share >= EXPLAINS || (share >= 0.5 && is_chance))
        };
        let alone: Vec<_> = standardised
            .iter()
            .filter(|standard| standard.same.len() == 1)
            .filter(told)
            .filter(explains)
            .map(|standard| standard.same[0])
            .collect();
        if !alone.is_empty() {
            return Self::Mix(alone);
        }
        let Some(all) = standardised.iter().rev().find(told) else { return Self::CannotTell };
        match all.explained.unwrap_or(0.0) {
            _ if explains(&all) => Self::Mix(all.same.clone()),
            // A single factor that could be compared says nothing of the one that could not.
            _ if all.same.len() == 1 => Self::CannotTell,
            share if share <= EXPLAINS_NOT => Self::Itself,
            _ => Self::Partly,
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A number of bytes with commas: `3,145,728`.
pub(super) fn grouped(bytes: f64) -> String {
    let digits = format!("{bytes:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `runs` runs of `pages` pages each.
    fn sample(chip: &str, caller: &str, outcome: &str, runs: u64, pages: u64) -> Sample {
        let mut cell = Cell::default();
        (0..runs).for_each(|_| cell.record(pages * PAGE));
        let levels = [chip, "p@1", caller, outcome].map(Arc::from);
        Sample { pipeline: "p".into(), stage: "preprocess", plugin: "p".into(), levels, cell }
    }

    fn pair(by: Factor, samples: &[Sample]) -> Pair {
        compare(by, samples).stages.remove(0).pairs.remove(0)
    }

    #[test]
    fn a_mix_of_outcomes_and_callers_is_told_from_the_chip() {
        // X sends 90 % malformed images, 9 of 10 to b; the others send 2 % and use both chips alike.
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
    fn a_chip_that_needs_more_whatever_is_sent_is_named() {
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
    fn what_cannot_be_told_is_not_told() {
        // Each chip has its own caller, and all end alike.
        let samples = [sample("b", "X", "ok", 100, 40), sample("a", "Y", "ok", 100, 20)];
        let pair = pair(Factor::Chip, &samples);
        assert!(pair.explained_by.is_empty(), "{pair:?}");
        assert!(pair.sentence.contains("cannot be told"), "{}", pair.sentence);
        // Half is the mix, half the chip.
        let samples = [
            sample("b", "X", "ok", 50, 30),
            sample("b", "X", "trap", 50, 50),
            sample("a", "X", "ok", 90, 20),
            sample("a", "X", "trap", 10, 40),
        ];
        let pair = self::pair(Factor::Chip, &samples);
        assert!(pair.explained_by.is_empty() && pair.sentence.contains("explains a part"), "{}", pair.sentence);
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
        assert_eq!(standard.standard_error, Some(0.0), "all runs of a stratum are alike");
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
        assert!("size".parse::<Factor>().expect_err("unknown").contains("`by=size`"));
    }
}
