//! The decision about a canary that follows from its figures.

use serde::Serialize;

use super::canary_events::{Errors, Events, compare_errors, is_more_frequent, share_of};
use super::canary_evidence::{ENOUGH, evidence};
use crate::config::CanaryRules;
use crate::records::canary_counts::CanaryFigures;

/// Minimum requests of a new version before its high-water marks are considered.
const MIN_REQUESTS: u64 = 20;
/// A canary that is still undecided after this many times its requests is rolled back: its new version looks worse, and
/// more requests would not soon show whether that is by chance.
const LONGEST: u64 = 10;

/// The figures of a canary, for the log and the administration routes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CanaryComparison {
    /// The pipeline.
    pub pipeline: String,
    /// Requests that the new version must answer before it is promoted.
    pub wanted: u64,
    /// The new version's figures.
    pub new: CanaryFigures,
    /// The old version's figures over the same time.
    pub old: CanaryFigures,
    /// The runs of the new and of the old version whose high-water mark is larger than the old version's p99 allows.
    #[serde(skip)]
    pub large: (u64, u64),
}

/// The decision that follows from the figures of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanaryVerdict {
    /// There are not enough requests yet.
    Undecided,
    /// The new version may serve.
    Promote,
    /// The new version must not serve; contains the reason.
    RollBack(String),
}

/// A version is rolled back if it is clearly worse (a factor) and if that is not by chance (evidence). It is promoted
/// if it had enough requests and is not worse; if it is worse, but perhaps by chance, the canary continues for a
/// bounded number of requests.
pub(super) fn judge(figures: &CanaryComparison, rules: &CanaryRules) -> CanaryVerdict {
    let CanaryComparison { new, old, pipeline, large, .. } = figures;
    let (failed, old_failed) = (Events::failures(new), Events::failures(old));
    let share = share_of(&failed, &old_failed, rules);
    let fails_more = is_more_frequent(&failed, &old_failed, rules);
    if fails_more && evidence(new.failures, old.failures, share) >= ENOUGH {
        return CanaryVerdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: {} of {} requests ended in a trap, a memory limit or a deadline, but \
             {} of {} with the old version (at most {} times its odds are allowed)",
            new.failures, new.requests, old.failures, old.requests, rules.failure_factor
        ));
    }
    let (left, old_left) = (Events::given_up(new), Events::given_up(old));
    let is_left_more = is_more_frequent(&left, &old_left, rules);
    if is_left_more && evidence(new.given_up, old.given_up, share_of(&left, &old_left, rules)) >= ENOUGH {
        return CanaryVerdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: callers gave up {} of {} requests while the plugin ran, but {} of {} with the \
             old version (at most {} times its odds are allowed); it may hang",
            left.events, left.requests, old_left.events, old_left.requests, rules.failure_factor
        ));
    }
    let errors = compare_errors(new, old, rules);
    if let Errors::More(figures) = &errors {
        return CanaryVerdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: {figures} (at most {} times its odds are allowed)",
            rules.failure_factor
        ));
    }
    let enough = new.requests >= MIN_REQUESTS.min(rules.requests) && old.requests > 0;
    let is_larger = enough && new.p99 as f64 > rules.memory_factor * old.p99 as f64;
    if is_larger && evidence(large.0, large.1, share) >= ENOUGH {
        return CanaryVerdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: the p99 high-water mark is {} bytes after {} requests, but {} bytes \
             with the old version (at most {} times as much is allowed)",
            new.p99, new.requests, old.p99, rules.memory_factor
        ));
    }
    if new.requests < rules.requests {
        return CanaryVerdict::Undecided;
    }
    let is_long = new.requests >= rules.requests.saturating_mul(LONGEST);
    if !fails_more && !is_left_more && !is_larger {
        match errors {
            // Errors that may be the callers' own blame no version without evidence.
            Errors::PerhapsMore if is_long => return CanaryVerdict::Promote,
            Errors::NotMore => return CanaryVerdict::Promote,
            _ => {}
        }
    }
    if !is_long {
        return CanaryVerdict::Undecided;
    }
    let figures = if let Errors::Suspect(figures) = errors {
        figures
    } else if fails_more {
        format!(
            "{} of {} requests ended in a trap, a memory limit or a deadline, but {} of {} with the old version",
            new.failures, new.requests, old.failures, old.requests
        )
    } else if is_left_more {
        format!(
            "callers gave up {} of {} requests while the plugin ran, but {} of {} with the old version",
            left.events, left.requests, old_left.events, old_left.requests
        )
    } else {
        format!(
            "the p99 high-water mark is {} bytes after {} requests, but {} bytes with the old version",
            new.p99, new.requests, old.p99
        )
    };
    CanaryVerdict::RollBack(format!(
        "canary in pipeline `{pipeline}`: not decided after {LONGEST} times the {} requests that were wanted: {figures}, \
         which may be by chance; deploy it again to try once more",
        rules.requests
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::CanaryBy;

    fn rules() -> CanaryRules {
        CanaryRules { share: 0.05, requests: 1_000, failure_factor: 2.0, memory_factor: 1.5, by: CanaryBy::Request }
    }

    fn comparison(new: (u64, u64, u64), old: (u64, u64, u64), large: (u64, u64)) -> CanaryComparison {
        let figures = |(requests, failures, p99)| CanaryFigures { requests, failures, p99, ..CanaryFigures::default() };
        CanaryComparison { pipeline: "p".into(), wanted: 1_000, new: figures(new), old: figures(old), large }
    }

    #[test]
    fn the_verdict_follows_from_the_figures() {
        // All runs of the new version are larger than those of the old one, if its p99 is.
        let judge = |new: (u64, u64, u64), old: (u64, u64, u64)| {
            let large = if new.2 > 150 { new.0 } else { 0 };
            judge(&comparison(new, old, (large, 0)), &rules())
        };
        assert_eq!(judge((10, 0, 100), (200, 0, 100)), CanaryVerdict::Undecided);
        assert_eq!(judge((1_000, 0, 100), (20_000, 0, 100)), CanaryVerdict::Promote);
        assert_eq!(
            judge((1_000, 2, 100), (20_000, 0, 100)),
            CanaryVerdict::Promote,
            "two failures are too few for a rate"
        );
        assert!(matches!(judge((50, 3, 100), (1_000, 0, 100)), CanaryVerdict::RollBack(_)));
        assert_eq!(judge((50, 5, 100), (1_000, 100, 100)), CanaryVerdict::Undecided, "the old version fails as often");
        assert!(matches!(judge((50, 0, 151), (1_000, 0, 100)), CanaryVerdict::RollBack(_)));
        assert_eq!(
            judge((5, 0, 151), (1_000, 0, 100)),
            CanaryVerdict::Undecided,
            "five requests are too few for a percentile"
        );
    }

    #[test]
    fn what_may_be_by_chance_prolongs_the_canary() {
        let judge = |new, old, large| judge(&comparison(new, old, large), &rules());
        assert_eq!(judge((1_000, 3, 100), (1_000, 1, 100), (0, 0)), CanaryVerdict::Undecided, "three failures and one");
        assert!(matches!(judge((1_000, 40, 100), (1_000, 10, 100), (0, 0)), CanaryVerdict::RollBack(_)));
        // A few large images decide the p99 of few requests.
        assert_eq!(judge((25, 0, 900), (75, 0, 100), (1, 0)), CanaryVerdict::Undecided);
        assert_eq!(judge((1_000, 0, 900), (3_000, 0, 100), (11, 29)), CanaryVerdict::Undecided);
        assert!(matches!(judge((1_000, 0, 900), (3_000, 0, 100), (40, 29)), CanaryVerdict::RollBack(_)));
    }

    #[test]
    fn a_version_whose_requests_all_fail_is_never_promoted() {
        for requests in 1..=30 {
            let rules = CanaryRules { requests, share: 0.5, ..rules() };
            let figures = comparison((requests, requests, 100), (requests, 0, 100), (0, 0));
            assert_ne!(judge(&figures, &rules), CanaryVerdict::Promote, "{requests}");
        }
    }

    /// A canary that looks worse, but perhaps by chance, does not go on for ever: the old version wins.
    #[test]
    fn a_canary_that_stays_undecided_is_rolled_back() {
        let undecided = [((3, 100), (2, 100), (0, 0)), ((0, 900), (0, 100), (101, 300))];
        for ((failures, p99), (old_failures, old_p99), large) in undecided {
            let judge = |requests| {
                let new = (requests, failures, p99);
                judge(&comparison(new, (3 * requests, old_failures, old_p99), large), &rules())
            };
            assert_eq!(judge(9_999), CanaryVerdict::Undecided);
            let verdict = judge(10_000);
            assert!(
                matches!(&verdict, CanaryVerdict::RollBack(reason) if reason.contains("not decided after 10 times the 1000")),
                "{verdict:?}"
            );
        }
        // A version that is not worse is promoted, however late it is decided.
        assert_eq!(judge(&comparison((10_000, 3, 100), (30_000, 9, 100), (0, 0)), &rules()), CanaryVerdict::Promote);
    }

    /// Callers choose how many requests fail with both versions, so a share of failures must not hide that all fail.
    #[test]
    fn failing_callers_do_not_hide_a_version_that_always_fails() {
        let judge = |new, old| judge(&comparison(new, old, (0, 0)), &rules());
        assert!(matches!(judge((1_000, 1_000, 100), (19_000, 9_500, 100)), CanaryVerdict::RollBack(_)));
        assert!(matches!(judge((1_000, 900, 100), (19_000, 9_500, 100)), CanaryVerdict::RollBack(_)));
        assert_eq!(judge((1_000, 520, 100), (19_000, 9_500, 100)), CanaryVerdict::Promote);
        assert_eq!(judge((1_000, 1_000, 100), (19_000, 19_000, 100)), CanaryVerdict::Promote, "both always fail");
    }

    #[test]
    fn a_version_whose_callers_give_up_is_rolled_back_and_given_up_requests_promote_none() {
        let judge = |new: (u64, u64), old: (u64, u64)| {
            let mut figures = comparison((new.0, 0, 100), (old.0, 0, 100), (0, 0));
            (figures.new.given_up, figures.old.given_up) = (new.1, old.1);
            judge(&figures, &rules())
        };
        // It hangs for each input, or for one of a hundred.
        let reason = judge((0, 3), (60, 0));
        assert!(matches!(&reason, CanaryVerdict::RollBack(reason) if reason.contains("gave up 3 of 3")), "{reason:?}");
        assert!(matches!(judge((990, 10), (19_000, 0)), CanaryVerdict::RollBack(_)));
        // Callers that give up all requests decide nothing, and as many with both versions are the callers' own.
        assert_eq!(judge((0, 1_000), (0, 19_000)), CanaryVerdict::Undecided);
        assert_eq!(judge((1_000, 200), (19_000, 3_800)), CanaryVerdict::Promote);
        assert_eq!(judge((1_000, 3), (19_000, 20)), CanaryVerdict::Undecided, "perhaps by chance");
    }

    #[test]
    fn a_version_that_answers_with_more_errors_is_rolled_back_and_chance_only_delays_it() {
        let judge = |new: (u64, u64), old: (u64, u64), by| {
            let mut figures = comparison((new.0, 0, 100), (old.0, 0, 100), (0, 0));
            (figures.new.errors, figures.old.errors) = (new.1, old.1);
            judge(&figures, &CanaryRules { by, ..rules() })
        };
        let reason = judge((100, 100), (1_900, 20), CanaryBy::Request);
        let words = "100 of 100 requests were answered with an error, but 20 of 1900";
        assert!(matches!(&reason, CanaryVerdict::RollBack(reason) if reason.contains(words)), "{reason:?}");
        assert_eq!(judge((1_000, 200), (19_000, 3_800), CanaryBy::Request), CanaryVerdict::Promote);
        assert_eq!(judge((1_000, 3), (19_000, 20), CanaryBy::Request), CanaryVerdict::Undecided);
        assert_eq!(judge((10_000, 3), (190_000, 20), CanaryBy::Request), CanaryVerdict::Promote, "no evidence");
        assert_eq!(judge((1_000, 900), (19_000, 20), CanaryBy::Caller), CanaryVerdict::Promote, "a caller's bad input");
        assert_eq!(judge((1_000, 1_000), (19_000, 20), CanaryBy::Caller), CanaryVerdict::Undecided);
        assert!(matches!(judge((10_000, 10_000), (190_000, 20), CanaryBy::Caller), CanaryVerdict::RollBack(_)));
    }

    /// A gateway with nearly all requests is on the side of the new version.
    #[test]
    fn a_version_fails_also_for_the_only_caller() {
        let rules = CanaryRules { by: CanaryBy::Caller, ..rules() };
        for old in [(0, 0, 0), (10, 0, 100)] {
            assert!(matches!(judge(&comparison((990, 5, 100), old, (0, 0)), &rules), CanaryVerdict::RollBack(_)));
        }
        assert_eq!(judge(&comparison((1_000, 5, 100), (100, 1, 100), (0, 0)), &rules), CanaryVerdict::Promote);
    }
}
