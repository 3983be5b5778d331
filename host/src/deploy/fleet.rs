//! The other servers over whose requests canaries are decided (`[fleet] peers`): what they said last, and the canaries that
//! this server has decided.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::canary_peers::PeersFound;
use super::fleet_report::{CanarySubject, FleetCanary, FleetCanaryState, FleetReport};
use crate::config;

/// Maximum number of decided canaries that are reported.
const MAX_DECIDED: usize = 64;
/// How long a decided canary is reported.
const REPORTED: Duration = Duration::from_secs(3_600);
/// A decision counts for a server to which the version came up to this much later: one deployment reaches the servers one
/// after the other.
const LATE: Duration = Duration::from_secs(60);
/// The note of a reason that another server had.
const DECIDED_ON: &str = "(decided on ";

/// The other servers.
pub struct Fleet {
    /// Identifies this process.
    server: String,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<String, Peer>,
    decided: VecDeque<(Instant, FleetCanary)>,
}

/// Another server.
#[derive(Default)]
struct Peer {
    answered: Option<Instant>,
    /// Since when it does not answer, and why.
    failing: Option<(Instant, String)>,
    is_left_out: bool,
    report: Option<FleetReport>,
    /// A canary of the same version there that cannot be added to the one here.
    differs: Option<String>,
}

/// Another server, as `GET /v1/fleet` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerView {
    /// Its address.
    pub peer: String,
    /// `answers`, `does not answer`, or `left out`: then canaries are decided without waiting for it.
    pub state: &'static str,
    /// Seconds since its last answer.
    pub answered_seconds_ago: Option<f64>,
    /// Why it does not answer.
    pub reason: Option<String>,
    /// Its configuration differs: it has a canary of the same version that is decided separately.
    pub differs: Option<String>,
}

impl Fleet {
    /// The fleet of a configuration; `None` if it names no other server.
    pub(super) fn new(settings: &config::Fleet) -> Option<Self> {
        let peers: BTreeMap<_, _> = settings.peers.iter().map(|peer| (peer.clone(), Peer::default())).collect();
        let server = uuid::Uuid::new_v4().to_string();
        let state = Mutex::new(State { peers, decided: VecDeque::new() });
        (!settings.peers.is_empty()).then_some(Self { server, timeout: settings.timeout, state })
    }

    /// Takes over the reply of a server, or why there is none. Returns a change that should be logged: `Some(true)` if it
    /// answers again, `Some(false)` if it is left out from now on.
    pub fn answered(&self, peer: &str, reply: Result<FleetReport, String>) -> Option<bool> {
        let mut state = self.lock();
        let known = state.peers.get_mut(peer)?;
        match reply {
            Ok(report) => {
                if report.canaries.iter().all(|canary| canary.state.is_decided()) {
                    known.differs = None;
                }
                known.report = Some(report);
                known.answered = Some(Instant::now());
                known.failing = None;
                std::mem::take(&mut known.is_left_out).then_some(true)
            }
            Err(reason) => {
                let since = known.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                known.failing = Some((since, reason));
                let is_new = !known.is_left_out && since.elapsed() >= self.timeout;
                known.is_left_out |= is_new;
                is_new.then_some(false)
            }
        }
    }

    /// What the other servers say about a canary. `runs` is the time since it began, `age` the time since its version came to
    /// this server, which may have been before a restart.
    pub(super) fn found(&self, subject: &CanarySubject, runs: Duration, age: Duration) -> PeersFound {
        let mut state = self.lock();
        let mut found = PeersFound::default();
        // A clock that was set back makes the version younger than its canary.
        let age = age.max(runs).saturating_add(LATE);
        for (name, peer) in &mut state.peers {
            let Some(report) = &peer.report else {
                found.waits |= !peer.is_left_out;
                continue;
            };
            // A server that names itself is no other server.
            if report.server == self.server {
                continue;
            }
            let since = peer.answered.map_or(Duration::ZERO, |answered| answered.elapsed());
            // What it said before the canary began is no answer.
            found.waits |= !peer.is_left_out && (peer.failing.is_some() || since >= runs);
            // What is older, for example the last reply of a server that has been down for hours, is about another deployment of
            // the same version.
            let counts = |canary: &&FleetCanary| canary.age().is_some_and(|ago| ago.saturating_add(since) <= age);
            for canary in report.canaries.iter().filter(|canary| canary.subject == *subject).filter(counts) {
                match canary.state {
                    FleetCanaryState::Running => found.waits |= !peer.is_left_out,
                    FleetCanaryState::Ready | FleetCanaryState::Promoted => {}
                    FleetCanaryState::RolledBack => {
                        let reason = canary.reason.as_deref().unwrap_or("no reason");
                        found.rolled_back = Some(match reason.contains(DECIDED_ON) {
                            true => reason.to_owned(),
                            false => format!("{reason} {DECIDED_ON}{name})"),
                        });
                    }
                }
                if canary.old.is_plausible() && canary.new.is_plausible() {
                    found.runs.push((canary.run.clone(), canary.old.clone(), canary.new.clone()));
                }
            }
            let is_other = |canary: &&FleetCanary| !canary.state.is_decided() && canary.subject.differs_from(subject);
            if report.canaries.iter().filter(is_other).any(|canary| counts(&canary)) && peer.differs.is_none() {
                let differs = subject.separate();
                tracing::warn!(peer = name, "{differs}");
                peer.differs = Some(differs);
            }
        }
        found
    }

    /// Remembers a canary that this server has decided.
    pub(super) fn remember(&self, canary: FleetCanary) {
        let mut state = self.lock();
        state.decided.push_front((Instant::now(), canary));
        state.decided.truncate(MAX_DECIDED);
    }

    /// The report of this server, with the canaries that run.
    pub(super) fn report(&self, mut canaries: Vec<FleetCanary>) -> FleetReport {
        let mut state = self.lock();
        state.decided.retain(|(at, _)| at.elapsed() < REPORTED);
        canaries.extend(state.decided.iter().map(|(at, canary)| {
            let ago = Some(at.elapsed().as_secs_f64());
            FleetCanary { decided_seconds_ago: ago, ..canary.clone() }
        }));
        FleetReport { server: self.server.clone(), canaries }
    }

    /// The other servers.
    pub fn peers(&self) -> Vec<PeerView> {
        let state = self.lock();
        let view = |(name, peer): (&String, &Peer)| PeerView {
            peer: name.clone(),
            state: match (&peer.failing, &peer.report) {
                _ if peer.is_left_out => "left out",
                (None, Some(report)) if report.server == self.server => "this server",
                (None, Some(_)) => "answers",
                (None, None) => "not asked yet",
                (Some(_), _) => "does not answer",
            },
            answered_seconds_ago: peer.answered.map(|at| at.elapsed().as_secs_f64()),
            reason: peer.failing.as_ref().map(|(_, reason)| reason.clone()),
            differs: peer.differs.clone(),
        };
        state.peers.iter().map(view).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::canary_counts::SentCounts;

    const LONG: Duration = Duration::from_secs(1_000);

    fn fleet(timeout: Duration) -> Fleet {
        let settings = config::Fleet { peers: vec!["http://a".into(), "http://b".into()], timeout };
        Fleet::new(&settings).expect("peers")
    }

    fn subject() -> CanarySubject {
        let versions = ["1".to_owned(), "2".to_owned()];
        CanarySubject { plugin: "p".into(), digest: "d".into(), pipeline: "q".into(), versions, rules: "{}".into() }
    }

    fn canary(state: FleetCanaryState, decided_seconds_ago: Option<f64>) -> FleetCanary {
        let counts = SentCounts { requests: 2, failures: 1, marks: vec![(3, 2)], ..SentCounts::default() };
        let reason = Some("worse".to_owned());
        let (old, new) = (counts.clone(), counts);
        FleetCanary { run: "r".into(), subject: subject(), state, reason, decided_seconds_ago, old, new }
    }

    /// What the fleet finds if `a` says this, and `b` has no canary.
    fn found(canaries: Vec<FleetCanary>, age: Duration) -> PeersFound {
        let fleet = fleet(LONG);
        let report = |server: &str, canaries| Ok(FleetReport { server: server.into(), canaries });
        fleet.answered("http://a", report("a", canaries));
        fleet.answered("http://b", report("b", Vec::new()));
        fleet.found(&subject(), age, age)
    }

    #[test]
    fn servers_with_the_same_canary_are_waited_for_until_they_are_ready() {
        let one = found(vec![canary(FleetCanaryState::Running, None)], LONG);
        assert!(one.waits && one.runs.len() == 1 && one.rolled_back.is_none());
        assert!(!found(vec![canary(FleetCanaryState::Ready, None)], LONG).waits);
        let mut other = canary(FleetCanaryState::Running, None);
        other.subject.versions[0] = "0".into();
        let other = found(vec![other], LONG);
        assert!(!other.waits && other.runs.is_empty(), "it compares something else");
        let mut wrong = canary(FleetCanaryState::Ready, None);
        wrong.new.failures = 9;
        assert!(found(vec![wrong], LONG).runs.is_empty(), "counts that cannot be");
    }

    #[test]
    fn a_decision_counts_only_for_its_deployment() {
        let age = Duration::from_secs(100);
        for (ago, counts) in [(5.0, true), (155.0, true), (165.0, false), (1e15, false), (1e300, false), (-1.0, false)]
        {
            let found = found(vec![canary(FleetCanaryState::RolledBack, Some(ago))], age);
            assert_eq!((found.rolled_back.is_some(), found.runs.len()), (counts, usize::from(counts)), "{ago}");
        }
        let reason = |canary: FleetCanary| found(vec![canary], age).rolled_back.expect("rolled back");
        let mut second = canary(FleetCanaryState::RolledBack, Some(1.0));
        second.reason = Some(reason(second.clone()));
        assert_eq!(reason(second), "worse (decided on http://a)", "the first server is named, once");
    }

    #[test]
    fn a_server_that_does_not_answer_is_waited_for_and_then_left_out() {
        let patient = fleet(LONG);
        assert!(patient.found(&subject(), LONG, LONG).waits, "nobody was asked yet");
        assert_eq!(patient.answered("http://a", Err("gone".into())), None);
        assert!(patient.found(&subject(), LONG, LONG).waits);
        let short = fleet(Duration::ZERO);
        for peer in ["http://a", "http://b"] {
            assert_eq!(short.answered(peer, Err("gone".into())), Some(false));
            assert_eq!(short.answered(peer, Err("gone".into())), None, "it is logged once");
        }
        assert!(!short.found(&subject(), LONG, LONG).waits);
        assert_eq!(short.peers()[0].state, "left out");
        let own = FleetReport { server: short.server.clone(), canaries: vec![canary(FleetCanaryState::Running, None)] };
        assert_eq!(short.answered("http://a", Ok(own)), Some(true));
        assert!(short.found(&subject(), LONG, LONG).runs.is_empty() && short.peers()[0].state == "this server");
    }

    #[test]
    fn what_a_server_said_before_the_canary_began_is_no_answer() {
        let fleet = fleet(LONG);
        for peer in ["http://a", "http://b"] {
            fleet.answered(peer, Ok(FleetReport { server: peer.into(), canaries: Vec::new() }));
        }
        assert!(!fleet.found(&subject(), LONG, LONG).waits);
        assert!(fleet.found(&subject(), Duration::ZERO, LONG).waits);
    }

    #[test]
    fn the_last_reply_of_a_server_that_is_down_counts_for_no_later_deployment() {
        let fleet = fleet(LONG);
        let canaries = vec![canary(FleetCanaryState::Ready, None)];
        fleet.answered("http://a", Ok(FleetReport { server: "a".into(), canaries }));
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(200)) else { return };
        fleet.lock().peers.get_mut("http://a").expect("known").answered = Some(long_ago);
        let counted = |age| fleet.found(&subject(), Duration::ZERO, Duration::from_secs(age)).runs.len();
        assert_eq!((counted(150), counted(100)), (1, 0));
    }
}
