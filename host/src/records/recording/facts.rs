//! The facts of a recorded request: the content of `ID.json`.

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;
use serde::{Deserialize, Serialize};

/// The facts of a recorded request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The time at which the request ended: RFC 3339, UTC.
    pub time: String,
    /// The request's id, which the caller may have chosen.
    pub request: String,
    /// The pipeline.
    pub pipeline: String,
    /// The chip.
    pub chip: String,
    /// The caller, as the memory report shows it.
    pub caller: String,
    /// The header `content-type`.
    pub content_type: Option<String>,
    /// The query parameters that reached the stages.
    pub parameters: Vec<(String, String)>,
    /// How the request ended.
    pub outcome: String,
    /// Why it was recorded: `high_water STAGE`, or the outcome.
    pub kept_for: Vec<String>,
    /// The memory that its stages needed, and how they ended.
    pub stages: Vec<StageFacts>,
    /// The reply, which is in `ID.reply`. Only captures have one, and only if the request succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyFacts>,
}

/// A reply that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyFacts {
    /// The media type that the postprocess stage set.
    pub content_type: String,
    /// The number of its bytes.
    pub bytes: u64,
}

/// One stage of a recorded request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFacts {
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: String,
    /// The plugin.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// SHA-256 of the plugin.
    pub digest: String,
    /// How the stage ended.
    pub outcome: String,
    /// Linear memory after instantiation, in bytes.
    pub initial: u64,
    /// High-water mark in bytes.
    pub high_water: u64,
}

impl From<&StageReport> for StageFacts {
    fn from(report: &StageReport) -> Self {
        Self {
            stage: report.stage.to_string(),
            plugin: report.plugin.to_string(),
            version: report.version.to_string(),
            digest: report.digest.to_string(),
            outcome: report.outcome.as_str().to_owned(),
            initial: report.usage.initial,
            high_water: report.usage.high_water,
        }
    }
}

/// Returns true if inputs with this outcome are always recorded, regardless of the memory they needed.
pub fn is_recorded(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::MemoryLimit | Outcome::Deadline | Outcome::Trap)
}
