//! Explains a difference: as a verdict and as a sentence.

use plimsoll_runtime::text::grouped;

use super::samples::Factor;
use super::standardise::{Sides, Standardised};

/// A factor explains a difference if at least this share of it disappears with the same mix of the factor.
const EXPLAINED_BY_MIX: f64 = 0.8;
/// The compared levels themselves explain a difference if at most this share of it disappears.
const NOT_EXPLAINED_BY_MIX: f64 = 0.2;
/// A standardised difference represents all runs only if the common strata hold at least this share of them.
const MIN_COVERAGE: f64 = 0.5;

/// The explanation of a difference.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The difference is negligible or may be chance.
    NoDifference,
    /// The mix of these factors explains it.
    Mix(Vec<Factor>),
    /// The compared factor itself explains it.
    Itself,
    /// The mix explains one part, and the compared factor the rest.
    Partly,
    /// The data does not show the cause.
    Unclear,
}

impl Verdict {
    /// Decides what explains a difference. `standardised` has an entry for each factor, then one for all factors
    /// together.
    pub(super) fn of(standardised: &[Standardised]) -> Self {
        let is_usable = |standard: &&Standardised| standard.explained.is_some() && standard.coverage >= MIN_COVERAGE;
        let explains = |standard: &&Standardised| {
            let noise = standard.standard_error.unwrap_or(0.0) * 2.0;
            // If most of the difference disappears, the rest may be chance.
            let is_chance = standard.difference.is_some_and(|rest| rest.abs() <= noise);
            standard.explained.is_some_and(|share| share >= EXPLAINED_BY_MIX || (share >= 0.5 && is_chance))
        };
        let alone: Vec<_> = standardised
            .iter()
            .filter(|standard| standard.same.len() == 1)
            .filter(is_usable)
            .filter(explains)
            .map(|standard| standard.same[0])
            .collect();
        if !alone.is_empty() {
            return Self::Mix(alone);
        }
        let Some(all) = standardised.iter().rev().find(is_usable) else { return Self::Unclear };
        match all.explained.unwrap_or(0.0) {
            _ if explains(&all) => Self::Mix(all.same.clone()),
            // If only one factor could be compared, the other one may still be the cause.
            _ if all.same.len() == 1 => Self::Unclear,
            share if share <= NOT_EXPLAINED_BY_MIX => Self::Itself,
            _ => Self::Partly,
        }
    }
}

/// Explains a difference of `raw` bytes in a sentence.
pub(super) fn sentence(sides: &Sides, raw: f64, standardised: &[Standardised], verdict: &Verdict) -> String {
    let Sides { by, more, less, .. } = sides;
    let (a, b) = (format!("{by} {more}"), format!("{by} {less}"));
    if *verdict == Verdict::NoDifference {
        return format!(
            "{a} and {b} need the same memory: their means differ by {} bytes.",
            grouped(raw.round() as u64)
        );
    }
    let mut parts = Vec::new();
    for standard in standardised.iter().filter(|standard| standard.same.len() == 1) {
        let factor = standard.same[0];
        let shares = sides.most_different(factor).map_or_else(String::new, |(level, high, low)| {
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
            None => {
                format!("the mix of {factor}s cannot be compared because the two sides have none in common{shares}")
            }
        });
    }
    let all = standardised.last();
    let remains = all.and_then(|all| all.difference.filter(|_| all.coverage >= MIN_COVERAGE));
    let remains = remains.map_or_else(String::new, |rest| {
        let direction = if rest < 0.0 { "less" } else { "more" };
        format!(
            "; with the same mix of all factors {a} needs {} bytes {direction} than {b}",
            grouped(rest.abs().round() as u64)
        )
    });
    let end = match verdict {
        Verdict::Mix(factors) => {
            let names: Vec<_> = factors.iter().map(|factor| factor.as_str()).collect();
            let verb = if names.len() == 1 { "explains" } else { "explain" };
            format!("so {}, not the {by}, {verb} it", names.join(" and "))
        }
        Verdict::Itself => format!("so it is due to the {by} itself"),
        Verdict::Partly => format!("so the mix explains one part, and the {by} the rest"),
        Verdict::Unclear => format!("so these requests do not show whether it is due to the {by}"),
        Verdict::NoDifference => unreachable!("the function returned early for this verdict"),
    };
    format!(
        "Of the {} bytes that {a} needs more than {b}, {}{remains}; {end}.",
        grouped(raw.round() as u64),
        parts.join(", ")
    )
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
