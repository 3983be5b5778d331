//! A canary: a new version gets a share of a pipeline's requests. Its figures, compared with the old version's, decide
//! whether it is promoted or rolled back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::identity::Identity;
use sha2::{Digest, Sha256};

use super::canary_peers::CanaryPeers;
use super::canary_verdict::judge;
pub use super::canary_verdict::{CanaryComparison, CanaryVerdict};
use super::request_share::RequestShare;
use super::served_pipeline::ServedPipeline;
use crate::config::{CanaryBy, CanaryRules};
use crate::records::canary_counts::CanaryCounts;
use crate::records::canary_side::{CanarySide, CanarySignal};

/// A pipeline with a new version of one plugin, next to the version that serves.
pub struct Canary {
    /// The pipeline with the new version.
    pub pipeline: Arc<ServedPipeline>,
    candidate: Identity,
    rules: CanaryRules,
    share: Arc<RequestShare>,
    old: Arc<CanarySide>,
    new: Arc<CanarySide>,
    /// The same canary on other servers; `None` if this server decides alone.
    peers: Option<Arc<CanaryPeers>>,
    began: Instant,
}

impl Canary {
    /// Begins a canary of `candidate` in `pipeline`, which contains it. `has_peers`: it is decided together with other
    /// servers.
    pub fn new(
        pipeline: Arc<ServedPipeline>,
        candidate: &Identity,
        rules: CanaryRules,
        signal: &Arc<CanarySignal>,
        has_peers: bool,
    ) -> Self {
        let side = |is_new| Arc::new(CanarySide::new(&candidate.name, is_new, signal));
        let (old, new) = (side(false), side(true));
        let share = Arc::new(RequestShare::new(rules.share));
        let peers = has_peers.then(Arc::default);
        Self { pipeline, candidate: candidate.clone(), rules, share, old, new, peers, began: Instant::now() }
    }

    /// The same canary, continued in a pipeline whose other parts were replaced.
    #[must_use]
    pub fn continued_in(&self, pipeline: Arc<ServedPipeline>) -> Self {
        let Self { candidate, rules, share, old, new, peers, began, pipeline: _ } = self;
        let (share, old, new) = (Arc::clone(share), Arc::clone(old), Arc::clone(new));
        let (peers, began) = (peers.clone(), *began);
        Self { pipeline, candidate: candidate.clone(), rules: rules.clone(), share, old, new, peers, began }
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

    /// The figures so far, with those of the other servers.
    pub fn comparison(&self) -> CanaryComparison {
        let (old, new) = self.own_counts();
        let (old, new) = match &self.peers {
            Some(peers) => peers.sums(old, new),
            None => (old, new),
        };
        let allowed = self.rules.memory_factor * old.figures().p99 as f64;
        CanaryComparison {
            pipeline: self.pipeline.name.clone(),
            wanted: self.rules.requests,
            new: new.figures(),
            old: old.figures(),
            large: (new.runs_above(allowed), old.runs_above(allowed)),
        }
    }

    /// What this server has counted, of the old and of the new version.
    pub(super) fn own_counts(&self) -> (CanaryCounts, CanaryCounts) {
        (self.old.counts(), self.new.counts())
    }

    /// The same canary on other servers; `None` if this server decides alone.
    pub(super) fn peers(&self) -> Option<&Arc<CanaryPeers>> {
        self.peers.as_ref()
    }

    /// The candidate.
    pub(super) fn candidate(&self) -> &Identity {
        &self.candidate
    }

    /// The rules of its decision, and the time since it began.
    pub(super) fn rules(&self) -> (&CanaryRules, Duration) {
        (&self.rules, self.began.elapsed())
    }

    /// The decision that follows from the figures so far, and from those of the other servers.
    pub fn verdict(&self) -> CanaryVerdict {
        let judged = || judge(&self.comparison(), &self.rules);
        match &self.peers {
            Some(peers) => peers.verdict(judged),
            None => judged(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
