//! The key of a series of stage runs.

use std::sync::Arc;

use plimsoll_runtime::kind::StageName;
use plimsoll_runtime::outcome::Outcome;
use serde::Serialize;

/// The properties that identify a series. High-water marks and metrics are counted for each combination of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SeriesKey {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The stage.
    pub stage: StageName,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
    /// SHA-256 of the plugin in hexadecimal. It is part of the key because two builds may have the same version.
    pub digest: Arc<str>,
    /// The chip that the request was routed to.
    pub chip: Arc<str>,
    /// How the stage ended.
    pub outcome: Outcome,
}
