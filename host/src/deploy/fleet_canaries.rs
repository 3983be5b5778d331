//! The canaries of this server and those of the other servers of its fleet.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::canary::{Canary, CanaryVerdict};
use super::canary_progress::FleetProgress;
use super::deployer::candidates;
use super::fleet_report::{CanarySubject, FleetCanary, FleetCanaryState, FleetReport};
use super::serving::{Route, Serving};

impl Serving {
    /// What this server tells the others; `None` if it has none.
    pub fn fleet_report(&self) -> Option<FleetReport> {
        let fleet = self.fleet.as_ref()?;
        let served = self.served.load();
        let running = served.routes.values().filter_map(|route| {
            let canary = route.canary.as_ref()?;
            let is_ready = canary.peers()?.state().is_ready;
            let state = if is_ready { FleetCanaryState::Ready } else { FleetCanaryState::Running };
            described(route, canary, state, None)
        });
        Some(fleet.report(running.collect()))
    }

    /// Returns true if a canary runs that other servers decide, too.
    pub fn has_fleet_canary(&self) -> bool {
        self.fleet.is_some() && self.served.load().routes.values().any(|route| route.canary.is_some())
    }

    /// Adds what the other servers have said to the canaries, and wakes the task that decides them.
    pub fn adopt_peers(&self) {
        let Some(fleet) = &self.fleet else { return };
        let mut is_changed = false;
        for (_, candidate) in candidates(self) {
            // A clock that was set back gives no age.
            let age = SystemTime::now().duration_since(candidate.at).unwrap_or(Duration::ZERO);
            for route in self.served.load().routes.values() {
                let Some(canary) = route.canary.as_ref().filter(|it| it.is_of(&candidate.artifact.identity)) else {
                    continue;
                };
                if let Some(peers) = canary.peers() {
                    is_changed |= peers.set(fleet.found(&subject(route, canary), canary.rules().1, age));
                }
            }
        }
        if is_changed {
            self.canary_signal.set();
        }
    }

    /// Remembers how canaries were decided, for the other servers.
    pub(super) fn remember_decision(&self, decided: &[(Route, Arc<Canary>)], verdict: &CanaryVerdict) {
        let Some(fleet) = &self.fleet else { return };
        let (state, reason) = match verdict {
            CanaryVerdict::Undecided => return,
            CanaryVerdict::Promote => (FleetCanaryState::Promoted, None),
            CanaryVerdict::RollBack(reason) => (FleetCanaryState::RolledBack, Some(reason.clone())),
        };
        for (route, canary) in decided {
            if let Some(canary) = described(route, canary, state, reason.clone()) {
                fleet.remember(canary);
            }
        }
    }
}

impl Canary {
    /// How far the other servers are; `None` if this server decides alone.
    pub(super) fn fleet_progress(&self) -> Option<FleetProgress> {
        let state = self.peers()?.state();
        Some(FleetProgress { others: state.counted, is_ready: state.is_ready, waits: state.waits })
    }
}

fn subject(route: &Route, canary: &Canary) -> CanarySubject {
    let candidate = canary.candidate();
    CanarySubject {
        plugin: candidate.name.to_string(),
        digest: candidate.digest.to_string(),
        pipeline: canary.pipeline.name.clone(),
        versions: [route.stable.version.clone(), canary.pipeline.version.clone()],
        rules: serde_json::to_string(canary.rules().0).unwrap_or_else(|error| error.to_string()),
    }
}

fn described(route: &Route, canary: &Canary, state: FleetCanaryState, reason: Option<String>) -> Option<FleetCanary> {
    let run = canary.peers()?.run().to_owned();
    let (old, new) = canary.own_counts();
    let (old, new) = (old.sent(), new.sent());
    Some(FleetCanary { run, subject: subject(route, canary), state, reason, decided_seconds_ago: None, old, new })
}
