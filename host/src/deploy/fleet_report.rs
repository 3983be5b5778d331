//! What the servers of a fleet tell each other.

use serde::{Deserialize, Serialize};

use crate::records::canary_counts::SentCounts;

/// What servers tell each other: their canaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetReport {
    /// Identifies the process.
    pub server: String,
    /// The canaries that run, and those that were decided in the last hour.
    pub canaries: Vec<FleetCanary>,
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
