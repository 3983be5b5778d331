//! What the servers of a fleet tell each other.

use std::time::Duration;

use plimsoll_runtime::text::printable;
use serde::{Deserialize, Serialize};

use crate::records::canary_counts::SentCounts;

/// Maximum number of canaries that one server is believed to have.
const MAX_CANARIES: usize = 4_096;
/// Maximum bytes of what identifies a server or a canary: they have 36.
const MAX_ID: usize = 64;
/// Maximum bytes of a reason.
const MAX_REASON: usize = 1_000;

/// What servers tell each other: their canaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetReport {
    /// Identifies the process.
    pub server: String,
    /// The canaries that run, and those that were decided in the last hour.
    pub canaries: Vec<FleetCanary>,
}

impl FleetReport {
    /// Makes what another server has sent safe to keep and to show.
    ///
    /// # Errors
    /// If it cannot be that of a server.
    pub fn checked(mut self) -> Result<Self, String> {
        if self.canaries.len() > MAX_CANARIES {
            return Err(format!("its reply has more than {MAX_CANARIES} canaries"));
        }
        if self.server.len() > MAX_ID || self.canaries.iter().any(|canary| canary.run.len() > MAX_ID) {
            return Err("its reply names servers or canaries as no server does".to_owned());
        }
        for canary in &mut self.canaries {
            canary.reason = canary.reason.take().map(|reason| printable(&reason, MAX_REASON));
        }
        Ok(self)
    }
}

/// A canary of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetCanary {
    /// Identifies this canary of this server.
    pub run: String,
    /// What it compares.
    #[serde(flatten)]
    pub subject: CanarySubject,
    /// How far it is.
    pub state: FleetCanaryState,
    /// Why it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_seconds_ago: Option<f64>,
    /// What the server has counted of the old version.
    pub old: SentCounts,
    /// What the server has counted of the new version.
    pub new: SentCounts,
}

impl FleetCanary {
    /// The time since it was decided, or no time if it runs; `None` if that makes no sense.
    pub(super) fn age(&self) -> Option<Duration> {
        match (self.state.is_decided(), self.decided_seconds_ago) {
            (true, Some(ago)) => Duration::try_from_secs_f64(ago).ok(),
            (false, None) => Some(Duration::ZERO),
            _ => None,
        }
    }
}

/// What a canary compares. Only canaries with the same subject are added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanarySubject {
    /// The plugin.
    pub plugin: String,
    /// SHA-256 of its new version.
    pub digest: String,
    /// The pipeline.
    pub pipeline: String,
    /// The version of the pipeline without and with it: they are derived from everything that decides its answers.
    pub versions: [String; 2],
    /// The rules of the decision, as text: numbers that are read from text again may differ.
    pub rules: String,
}

impl CanarySubject {
    /// Returns true if it is about the same version of the plugin in the pipeline, but cannot be added: the servers have other
    /// configurations.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        (&self.plugin, &self.digest, &self.pipeline) == (&other.plugin, &other.digest, &other.pipeline) && self != other
    }

    /// What to say about such a canary on another server.
    pub(super) fn separate(&self) -> String {
        format!(
            "the canary of plugin `{}` in pipeline `{}` is decided separately from that server: its configuration of the \
             pipeline differs, or what serves there",
            self.plugin, self.pipeline
        )
    }
}

/// How far a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetCanaryState {
    /// Undecided.
    Running,
    /// The server would promote the version, and waits for the others.
    Ready,
    /// The version serves.
    Promoted,
    /// The version was rejected.
    RolledBack,
}

impl FleetCanaryState {
    /// Returns true if it has ended.
    pub(super) fn is_decided(self) -> bool {
        matches!(self, Self::Promoted | Self::RolledBack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(state: FleetCanaryState, decided_seconds_ago: Option<f64>) -> FleetCanary {
        let versions = ["1".to_owned(), "2".to_owned()];
        let subject = CanarySubject {
            plugin: "p".into(),
            digest: "d".into(),
            pipeline: "q".into(),
            versions,
            rules: "{}".into(),
        };
        let (old, new) = Default::default();
        FleetCanary { run: "r".into(), subject, state, reason: None, decided_seconds_ago, old, new }
    }

    #[test]
    fn what_another_server_sends_is_bounded_and_safe_to_show() {
        let mut one = canary(FleetCanaryState::RolledBack, Some(1.0));
        one.reason = Some(format!("\u{1b}[2J{}", "x".repeat(5_000)));
        let report = |canaries| FleetReport { server: "a".into(), canaries };
        let reason = report(vec![one.clone()]).checked().expect("valid").canaries.remove(0).reason.expect("a reason");
        assert!(reason.len() < 1_100 && !reason.contains('\u{1b}'), "{reason}");
        let long = FleetCanary { run: "r".repeat(MAX_ID + 1), ..one.clone() };
        assert!(report(vec![long]).checked().expect_err("too long").contains("names"));
        assert!(report(vec![one; MAX_CANARIES + 1]).checked().expect_err("too many").contains("canaries"));
    }

    #[test]
    fn a_canary_has_the_age_of_its_decision_and_differs_by_versions_and_rules() {
        let age = |state, ago| canary(state, ago).age().map(|age| age.as_secs());
        assert_eq!(age(FleetCanaryState::Running, None), Some(0));
        assert_eq!(age(FleetCanaryState::Promoted, Some(7.0)), Some(7));
        for (state, ago) in [
            (FleetCanaryState::Ready, Some(1.0)),
            (FleetCanaryState::Promoted, None),
            (FleetCanaryState::RolledBack, Some(-1.0)),
            (FleetCanaryState::RolledBack, Some(f64::INFINITY)),
        ] {
            assert_eq!(age(state, ago), None, "{state:?} {ago:?}");
        }
        let one = canary(FleetCanaryState::Running, None).subject;
        let (mut rules, mut plugin) = (one.clone(), one.clone());
        rules.rules.push(' ');
        plugin.plugin.push('x');
        assert!(rules.differs_from(&one) && !plugin.differs_from(&one) && !one.differs_from(&one));
    }
}
