//! The body of `GET /v1/memory/series`: what happened when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use plimsoll_runtime::kind::StageName;
use serde::Serialize;

use super::route_history::{MarkPoints, RequestPoints};
use super::stats::MemoryStats;
use super::timeline::Step;
use crate::records::time::timestamp;

/// The body of `GET /v1/memory/series`.
#[derive(Debug, Serialize)]
pub struct History {
    /// The time of the report: RFC 3339, UTC.
    pub time: String,
    /// High-water marks, for each stage of each pipeline on each chip.
    pub stages: Vec<StageHistory>,
    /// Requests, for each pipeline on each chip.
    pub requests: Vec<RequestHistory>,
}

/// The high-water marks of a stage on a chip, in all versions and with all outcomes.
#[derive(Debug, Serialize)]
pub struct StageHistory {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The name of the stage or step.
    pub stage: StageName,
    /// The chip of the requests.
    pub chip: Arc<str>,
    /// The points of each step.
    pub steps: BTreeMap<String, MarkPoints>,
}

/// The requests to a pipeline on a chip.
#[derive(Debug, Serialize)]
pub struct RequestHistory {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The chip.
    pub chip: Arc<str>,
    /// The points of each step.
    pub steps: BTreeMap<String, RequestPoints>,
}

impl MemoryStats {
    /// The history at the time `now`, of one pipeline or of all, with one step or all.
    pub fn history(&self, pipeline: Option<&str>, step: Option<Step>, now: Instant) -> History {
        let seconds = self.seconds(now);
        let mut history = History { time: timestamp(), stages: Vec::new(), requests: Vec::new() };
        for route in self.routes().iter().filter(|route| pipeline.is_none_or(|name| *route.pipeline == *name)) {
            for (stage, timeline) in route.timelines() {
                let (pipeline, chip) = (Arc::clone(&route.pipeline), Arc::clone(&route.chip));
                let steps = timeline.marks(step, seconds);
                history.stages.push(StageHistory { pipeline, stage, chip, steps });
            }
            let (pipeline, chip) = (Arc::clone(&route.pipeline), Arc::clone(&route.chip));
            let steps = route.history.requests(step, seconds);
            history.requests.push(RequestHistory { pipeline, chip, steps });
        }
        history
    }
}
