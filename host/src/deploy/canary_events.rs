//! What is compared between the two versions of a canary: how often something happens.

use super::canary_evidence::{ENOUGH, evidence};
use crate::config::{CanaryBy, CanaryRules};
use crate::records::canary_counts::CanaryFigures;

/// Minimum failures of a new version before its failure rate is considered.
const MIN_FAILURES: u64 = 3;

/// The part of requests in which something happened, of the new or the old version.
pub(super) struct Events {
    pub(super) events: u64,
    pub(super) requests: u64,
}

/// Whether more requests end in errors with the new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errors {
    /// No.
    NotMore,
    /// More, perhaps by chance.
    PerhapsMore,
    /// More, perhaps by chance, but not by what callers send: errors of the server; or none of its requests was answered
    /// without an error, and some of the old version's were. Contains the figures.
    Suspect(String),
    /// Clearly more; contains the figures.
    More(String),
}

impl Events {
    pub(super) fn failures(of: &CanaryFigures) -> Self {
        Self { events: of.failures, requests: of.requests }
    }

    pub(super) fn given_up(of: &CanaryFigures) -> Self {
        Self { events: of.given_up, requests: of.requests.saturating_add(of.given_up) }
    }

    /// The error answers for which the server is to blame. What callers send hardly changes them.
    fn internal_errors(of: &CanaryFigures) -> Self {
        Self { events: of.internal_errors, requests: of.requests }
    }

    /// All answers that are errors. So it does not matter which error a version gives for the same input.
    fn errors(of: &CanaryFigures) -> Self {
        Self { events: of.failures.saturating_add(of.errors), requests: of.requests }
    }

    /// The events for each request without one. A multiple of a rate has a ceiling: if half the requests of the old version
    /// fail, because of what callers send, none is more than twice as bad. A multiple of these odds has none.
    fn odds(&self) -> f64 {
        match self.events {
            0 => 0.0,
            events => events as f64 / self.requests.saturating_sub(events) as f64,
        }
    }
}

/// Returns true if something happens clearly more often with the new version, perhaps by chance.
pub(super) fn is_more_frequent(new: &Events, old: &Events, rules: &CanaryRules) -> bool {
    new.events >= MIN_FAILURES.min(rules.requests) && new.odds() > rules.failure_factor * old.odds()
}

/// The part of these requests that the new version had.
pub(super) fn share_of(new: &Events, old: &Events, rules: &CanaryRules) -> f64 {
    match rules.by {
        CanaryBy::Request => new.requests as f64 / new.requests.saturating_add(old.requests).max(1) as f64,
        // One caller may have most of the requests. They say nothing about how often one that has an event is on this side.
        CanaryBy::Caller => rules.share,
    }
}

/// Compares the error answers. Most errors are the callers' own: bad input. But each request has its side by chance, so both
/// versions get as many of those, and only the difference counts. If callers are divided, one with bad input is on one side
/// with all its requests; then only a version counts as worse that has never answered without an error.
pub(super) fn compare_errors(new: &CanaryFigures, old: &CanaryFigures, rules: &CanaryRules) -> Errors {
    if rules.by == CanaryBy::Caller {
        let has_answered = |it: &CanaryFigures| it.failures.saturating_add(it.errors) < it.requests;
        let is_only = new.requests > 0 && new.errors > 0 && !has_answered(new) && has_answered(old);
        let by_the_server = compare_kinds(new, old, rules, &KINDS[..1]);
        return match is_only {
            _ if by_the_server != Errors::NotMore => by_the_server,
            true => Errors::Suspect(described(
                "requests were answered with an error",
                &Events::errors(new),
                &Events::errors(old),
            )),
            false => Errors::NotMore,
        };
    }
    compare_kinds(new, old, rules, &KINDS)
}

/// A kind of error answer, and how often there was one.
type Kind = (&'static str, fn(&CanaryFigures) -> Events);

/// The kinds of error answers. What callers send hardly changes the first.
const KINDS: [Kind; 2] = [
    ("requests were answered with an error of the server", Events::internal_errors),
    ("requests were answered with an error", Events::errors),
];

fn compare_kinds(new: &CanaryFigures, old: &CanaryFigures, rules: &CanaryRules, kinds: &[Kind]) -> Errors {
    let mut found = Errors::NotMore;
    for (at, (what, of)) in kinds.iter().enumerate() {
        let (new, old) = (of(new), of(old));
        if !is_more_frequent(&new, &old, rules) {
            continue;
        }
        if evidence(new.events, old.events, share_of(&new, &old, rules)) >= ENOUGH {
            return Errors::More(described(what, &new, &old));
        }
        found = match at {
            // They are hardly the callers' own, so they must not go unseen at the end.
            0 => Errors::Suspect(described(what, &new, &old)),
            _ if found == Errors::NotMore => Errors::PerhapsMore,
            _ => found,
        };
    }
    found
}

fn described(what: &str, new: &Events, old: &Events) -> String {
    format!("{} of {} {what}, but {} of {} with the old version", new.events, new.requests, old.events, old.requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(by: CanaryBy) -> CanaryRules {
        CanaryRules { share: 0.05, requests: 1_000, failure_factor: 2.0, memory_factor: 1.5, by }
    }

    fn figures(requests: u64, failures: u64, errors: u64, internal_errors: u64) -> CanaryFigures {
        CanaryFigures { requests, failures, errors, internal_errors, given_up: 0, p99: 100 }
    }

    #[test]
    fn errors_count_only_as_far_as_the_old_version_has_fewer() {
        let compare = |new, old| compare_errors(&new, &old, &rules(CanaryBy::Request));
        let is_more = |found| matches!(found, Errors::More(_));
        assert_eq!(compare(figures(1_000, 0, 0, 0), figures(19_000, 0, 0, 0)), Errors::NotMore);
        // Each request is refused, or fails in another stage.
        assert!(is_more(compare(figures(60, 0, 60, 0), figures(1_000, 0, 10, 0))));
        assert!(is_more(compare(figures(60, 0, 30, 30), figures(1_000, 0, 300, 1))));
        // The callers' bad input: as often with both versions, however much it is.
        assert_eq!(compare(figures(1_000, 0, 500, 0), figures(19_000, 0, 9_500, 0)), Errors::NotMore);
        assert_eq!(compare(figures(1_000, 0, 1_000, 0), figures(19_000, 0, 19_000, 0)), Errors::NotMore);
        assert_eq!(compare(figures(1_000, 0, 3, 0), figures(19_000, 0, 20, 0)), Errors::PerhapsMore);
        // A trap that has become a refusal is as many errors as before, and a refusal that has become a 500 is not.
        assert_eq!(compare(figures(1_000, 0, 50, 0), figures(19_000, 950, 0, 0)), Errors::NotMore);
        assert!(is_more(compare(figures(1_000, 0, 50, 50), figures(19_000, 0, 950, 0))));
    }

    #[test]
    fn a_caller_with_bad_input_is_no_evidence_if_callers_are_divided() {
        let compare = |new, old| compare_errors(&new, &old, &rules(CanaryBy::Caller));
        assert_eq!(compare(figures(1_000, 0, 999, 0), figures(19_000, 0, 0, 0)), Errors::NotMore);
        // What callers send hardly causes errors of the server, so they are compared as traps are.
        assert!(matches!(compare(figures(1_000, 0, 999, 999), figures(19_000, 0, 0, 0)), Errors::More(_)));
        assert!(matches!(compare(figures(1_000, 0, 1_000, 0), figures(19_000, 0, 10, 0)), Errors::Suspect(_)));
        assert_eq!(compare(figures(1_000, 0, 1_000, 0), figures(500, 0, 500, 0)), Errors::NotMore, "both refuse all");
    }

    /// The errors are the callers' own, so a version that is as good as the old one must hardly ever be blamed.
    #[test]
    fn equal_versions_are_rarely_blamed_for_the_errors_of_callers() {
        // A linear congruential generator (Knuth, MMIX): the test is the same in every run.
        let mut state = 7_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for (share, rate) in [(0.05, 0.3), (0.25, 0.02), (0.5, 0.002)] {
            let rules = CanaryRules { share, requests: 200, ..rules(CanaryBy::Request) };
            let mut blamed = 0;
            for _ in 0..300 {
                let (mut new, mut old) = (figures(0, 0, 0, 0), figures(0, 0, 0, 0));
                while new.requests < 400 {
                    let side = if random() < share { &mut new } else { &mut old };
                    side.requests += 1;
                    side.errors += u64::from(random() < rate);
                    if matches!(compare_errors(&new, &old, &rules), Errors::More(_)) {
                        blamed += 1;
                        break;
                    }
                }
            }
            assert!(blamed <= 6, "{blamed} of 300 with a share of {share} and {rate} errors");
        }
    }
}
