//! A canary: a new version gets a share of a pipeline's requests. Its figures, compared with the old version's, decide
//! whether it is promoted or rolled back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::identity::Identity;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::canary_evidence::{ENOUGH, evidence};
use super::request_share::RequestShare;
use super::served_pipeline::ServedPipeline;
use crate::config::{CanaryBy, CanaryRules};
use crate::records::canary_side::{CanaryFigures, CanarySide, CanarySignal};

/// Minimum failures of a new version before its failure rate is considered.
const MIN_FAILURES: u64 = 3;
/// Minimum requests of a new version before its high-water marks are considered.
const MIN_REQUESTS: u64 = 20;
/// A canary that is still undecided after this many times its requests is rolled back: its new version looks worse, and
/// more requests would not soon show whether that is by chance.
const LONGEST: u64 = 10;

/// A pipeline with a new version of one plugin, next to the version that serves.
pub struct Canary {
    /// The pipeline with the new version.
    pub pipeline: Arc<ServedPipeline>,
    candidate: Identity,
    rules: CanaryRules,
    share: Arc<RequestShare>,
    old: Arc<CanarySide>,
    new: Arc<CanarySide>,
    began: Instant,
}

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

impl Canary {
    /// Begins a canary of `candidate` in `pipeline`, which contains it.
    pub fn new(
        pipeline: Arc<ServedPipeline>,
        candidate: &Identity,
        rules: CanaryRules,
        signal: &Arc<CanarySignal>,
    ) -> Self {
        let side = |is_new| Arc::new(CanarySide::new(&candidate.name, is_new, signal));
        let (old, new) = (side(false), side(true));
        let share = Arc::new(RequestShare::new(rules.share));
        Self { pipeline, candidate: candidate.clone(), rules, share, old, new, began: Instant::now() }
    }

    /// The same canary, continued in a pipeline whose other parts were replaced.
    #[must_use]
    pub fn continued_in(&self, pipeline: Arc<ServedPipeline>) -> Self {
        let Self { candidate, rules, share, old, new, began, pipeline: _ } = self;
        let (share, old, new) = (Arc::clone(share), Arc::clone(old), Arc::clone(new));
        Self { pipeline, candidate: candidate.clone(), rules: rules.clone(), share, old, new, began: *began }
    }

    /// Returns true if a new build of its pipeline changes nothing of this canary.
    pub fn is_unchanged_in(&self, pipeline: &ServedPipeline) -> bool {
        self.pipeline.version == pipeline.version && pipeline.canary.as_ref() == Some(&self.rules)
    }

    /// Returns true if this is the canary of that version.
    pub fn is_of(&self, candidate: &Identity) -> bool {
        self.candidate == *candidate
    }

    /// The plugin with a new version.
    pub fn plugin(&self) -> &Arc<str> {
        &self.candidate.name
    }

    /// Returns true if the next request gets the new version. `caller` identifies its caller.
    pub fn takes_next(&self, caller: Option<&[u8]>) -> bool {
        match caller.filter(|caller| self.rules.by == CanaryBy::Caller && !caller.is_empty()) {
            Some(caller) => caller_point(&self.candidate, &self.pipeline.name, caller) < self.rules.share,
            None => self.share.takes_next(),
        }
    }

    /// The side of the new or the old version.
    pub fn side(&self, is_new: bool) -> Arc<CanarySide> {
        Arc::clone(if is_new { &self.new } else { &self.old })
    }

    /// The figures so far.
    pub fn comparison(&self) -> CanaryComparison {
        let (new, old) = (self.new.figures(), self.old.figures());
        let allowed = self.rules.memory_factor * old.p99 as f64;
        CanaryComparison {
            pipeline: self.pipeline.name.clone(),
            wanted: self.rules.requests,
            new,
            old,
            large: (self.new.runs_above(allowed), self.old.runs_above(allowed)),
        }
    }

    /// The rules of its decision, and the time since it began.
    pub(super) fn rules(&self) -> (&CanaryRules, Duration) {
        (&self.rules, self.began.elapsed())
    }

    /// The decision that follows from the figures so far.
    pub fn verdict(&self) -> CanaryVerdict {
        judge(&self.comparison(), &self.rules)
    }
}

/// A number from 0 to 1 for a caller: the same in every host and after every restart, and another one for each new version.
fn caller_point(candidate: &Identity, pipeline: &str, caller: &[u8]) -> f64 {
    let mut hash = Sha256::new();
    for part in [candidate.digest.as_bytes(), pipeline.as_bytes(), caller] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let [a, b, c, d, ..] = *hash.finalize().first_chunk::<8>().unwrap_or(&[0; 8]);
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

/// A version is rolled back if it is clearly worse (a factor) and if that is not by chance (evidence). It is promoted
/// if it had enough requests and is not worse; if it is worse, but perhaps by chance, the canary continues for a
/// bounded number of requests.
fn judge(figures: &CanaryComparison, rules: &CanaryRules) -> CanaryVerdict {
    let CanaryComparison { new, old, pipeline, large, .. } = figures;
    let share = new.requests as f64 / (new.requests + old.requests).max(1) as f64;
    let rate = |side: &CanaryFigures| side.failures as f64 / side.requests.max(1) as f64;
    let fails_more = new.failures >= MIN_FAILURES.min(rules.requests) && rate(new) > rules.failure_factor * rate(old);
    if fails_more && evidence(new.failures, old.failures, share) >= ENOUGH {
        return CanaryVerdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: {} of {} requests ended in a trap, a memory limit or a deadline, but \
             {} of {} with the old version (at most {} times its rate is allowed)",
            new.failures, new.requests, old.failures, old.requests, rules.failure_factor
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
    if !fails_more && !is_larger {
        return CanaryVerdict::Promote;
    }
    if new.requests < rules.requests.saturating_mul(LONGEST) {
        return CanaryVerdict::Undecided;
    }
    let figures = match fails_more {
        true => format!(
            "{} of {} requests ended in a trap, a memory limit or a deadline, but {} of {} with the old version",
            new.failures, new.requests, old.failures, old.requests
        ),
        false => format!(
            "the p99 high-water mark is {} bytes after {} requests, but {} bytes with the old version",
            new.p99, new.requests, old.p99
        ),
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

    fn rules() -> CanaryRules {
        CanaryRules { share: 0.05, requests: 1_000, failure_factor: 2.0, memory_factor: 1.5, by: CanaryBy::Request }
    }

    fn comparison(new: (u64, u64, u64), old: (u64, u64, u64), large: (u64, u64)) -> CanaryComparison {
        let figures = |(requests, failures, p99)| CanaryFigures { requests, failures, p99 };
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

    /// Each caller has its own point; the points of different callers and versions are evenly distributed.
    #[test]
    fn callers_are_distributed_evenly_and_differently_for_each_version() {
        let version = |digest: &str| Identity { name: "p".into(), version: "1".into(), digest: digest.into() };
        let taken = |digest, share| {
            let point = |number: u32| caller_point(&version(digest), "p", format!("caller-{number}").as_bytes());
            (0..10_000).filter(|number| point(*number) < share).collect::<Vec<_>>()
        };
        for share in [0.05, 0.5] {
            let found = taken("a", share).len() as f64 / 10_000.0;
            assert!((found - share).abs() < 0.02, "{found} of {share}");
        }
        let (one, other) = (taken("a", 0.5), taken("b", 0.5));
        let both = one.iter().filter(|number| other.contains(number)).count();
        assert!((2_200..2_800).contains(&both), "{both}");
        assert_eq!(taken("a", 0.5), one);
        let point = |caller: &[u8], pipeline| caller_point(&version("a"), pipeline, caller);
        assert_ne!(point(b"x", "p"), point(b"x", "q"));
        assert_ne!(point(b"px", ""), point(b"x", "p"));
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
}
