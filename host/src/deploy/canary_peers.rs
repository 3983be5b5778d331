//! A canary that several servers decide together (`[fleet] peers`).
//!
//! Every server judges the sums of all servers. They see these sums at slightly different moments, so one could promote a
//! version that another one rolls back. Therefore a promotion has two steps. A server that would promote the version says
//! so (it is *ready*), and never changes its mind by itself afterwards. It promotes the version when all other servers that
//! have this canary and answer are ready, too. A rollback has one step, and every server follows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::canary_verdict::CanaryVerdict;
use crate::records::canary_counts::{CanaryCounts, SentCounts};

/// Maximum number of canaries of other servers whose counts are kept: one for each server, and one more for each of its
/// restarts.
const MAX_RUNS: usize = 256;

/// What is known of the same canary on other servers.
pub(super) struct CanaryPeers {
    /// Identifies this canary of this server, so that its counts are not added twice if a server has two names.
    run: String,
    state: Mutex<State>,
}

struct State {
    /// The counts of the old and of the new version on other servers. Those of a server that has restarted stay.
    runs: BTreeMap<String, (SentCounts, SentCounts)>,
    /// This server would promote the version.
    is_ready: bool,
    /// Another server is not ready, or was not asked yet.
    waits: bool,
    /// Why another server has rolled the version back.
    rolled_back: Option<String>,
}

/// What a round of questions to the other servers has found.
#[derive(Debug, Default)]
pub(super) struct PeersFound {
    /// The counts of the old and of the new version, by canary.
    pub(super) runs: Vec<(String, SentCounts, SentCounts)>,
    /// A server that has this canary is not ready, or is not answering and not left out yet.
    pub(super) waits: bool,
    /// Why a server has rolled the version back.
    pub(super) rolled_back: Option<String>,
}

/// The state of a canary that several servers decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeersState {
    /// This server would promote the version.
    pub(super) is_ready: bool,
    /// Another server is not ready, or was not asked yet.
    pub(super) waits: bool,
    /// The canaries of other servers whose counts are added.
    pub(super) counted: usize,
}

impl Default for CanaryPeers {
    fn default() -> Self {
        let state = State { runs: BTreeMap::new(), is_ready: false, waits: true, rolled_back: None };
        Self { run: uuid::Uuid::new_v4().to_string(), state: Mutex::new(state) }
    }
}

impl CanaryPeers {
    /// Identifies this canary of this server.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// The state.
    pub(super) fn state(&self) -> PeersState {
        let state = self.lock();
        PeersState { is_ready: state.is_ready, waits: state.waits, counted: state.runs.len() }
    }

    /// Adds the counts of the other servers to those of this one.
    pub(super) fn sums(&self, mut old: CanaryCounts, mut new: CanaryCounts) -> (CanaryCounts, CanaryCounts) {
        for (other_old, other_new) in self.lock().runs.values() {
            old.add(other_old);
            new.add(other_new);
        }
        (old, new)
    }

    /// Takes over what a round of questions has found. Returns true if something has changed.
    pub(super) fn set(&self, found: PeersFound) -> bool {
        let mut state = self.lock();
        let mut is_changed = state.waits != found.waits;
        state.waits = found.waits;
        for (run, old, new) in found.runs {
            let is_known = state.runs.contains_key(&run);
            if run == self.run || !is_known && state.runs.len() >= MAX_RUNS {
                continue;
            }
            // Counts never fall, also if an old reply is read late.
            let counts = state.runs.entry(run).or_default();
            let all = |of: &SentCounts| of.requests.saturating_add(of.given_up);
            let total = |(old, new): &(SentCounts, SentCounts)| all(old).saturating_add(all(new));
            let latest = (old, new);
            if total(&latest) > total(counts) {
                *counts = latest;
                is_changed = true;
            }
        }
        if state.rolled_back.is_none() && found.rolled_back.is_some() {
            state.rolled_back = found.rolled_back;
            is_changed = true;
        }
        is_changed
    }

    /// The verdict. `judged` judges the sums.
    pub(super) fn verdict(&self, judged: impl FnOnce() -> CanaryVerdict) -> CanaryVerdict {
        let (rolled_back, is_ready) = {
            let state = self.lock();
            (state.rolled_back.clone(), state.is_ready)
        };
        if let Some(reason) = rolled_back {
            return CanaryVerdict::RollBack(reason);
        }
        if !is_ready {
            match judged() {
                CanaryVerdict::Promote => {}
                verdict => return verdict,
            }
        }
        let mut state = self.lock();
        state.is_ready = true;
        if state.waits { CanaryVerdict::Undecided } else { CanaryVerdict::Promote }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64) -> SentCounts {
        SentCounts { requests, failures: 0, marks: vec![(1, requests)], ..SentCounts::default() }
    }

    fn found(requests: u64, waits: bool) -> PeersFound {
        let runs = vec![("other".to_owned(), counts(3 * requests), counts(requests))];
        PeersFound { runs, waits, rolled_back: None }
    }

    fn new_requests(peers: &CanaryPeers) -> u64 {
        peers.sums(CanaryCounts::default(), CanaryCounts::default()).1.figures().requests
    }

    #[test]
    fn counts_never_fall_and_those_of_this_server_are_not_added_twice() {
        let peers = CanaryPeers::default();
        assert!(peers.set(found(10, false)) && !peers.set(found(10, false)));
        peers.set(found(7, false));
        peers.set(PeersFound::default());
        assert_eq!(new_requests(&peers), 10);
        let own = (peers.run().to_owned(), counts(5), counts(5));
        peers.set(PeersFound { runs: vec![own], ..PeersFound::default() });
        assert_eq!(new_requests(&peers), 10);
    }

    #[test]
    fn a_server_that_is_ready_waits_for_the_others_and_follows_only_their_rollback() {
        let peers = CanaryPeers::default();
        let promote = || CanaryVerdict::Promote;
        let worse = || CanaryVerdict::RollBack("worse".into());
        assert_eq!(peers.verdict(|| CanaryVerdict::Undecided), CanaryVerdict::Undecided);
        assert_eq!(peers.verdict(promote), CanaryVerdict::Undecided, "no other server was asked yet");
        peers.set(found(1, true));
        assert_eq!(peers.verdict(worse), CanaryVerdict::Undecided, "it has said that it is ready");
        peers.set(found(1, false));
        assert_eq!(peers.verdict(worse), CanaryVerdict::Promote);
        peers.set(PeersFound { rolled_back: Some("there".into()), ..PeersFound::default() });
        assert_eq!(peers.verdict(promote), CanaryVerdict::RollBack("there".into()));

        let alone = CanaryPeers::default();
        assert_eq!(alone.verdict(worse), worse(), "a rollback waits for nobody");
    }
}
