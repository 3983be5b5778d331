//! The versions of a plugin that served before.

use std::sync::Arc;

use plimsoll_runtime::stage::StageCore;

use super::journal_state::VersionRecord;
use super::release::Release;

/// A version that served before.
pub struct PreviousVersion {
    /// The version.
    pub release: Arc<Release>,
    /// Its stages, kept ready for a rollback.
    pub stages: Vec<Arc<StageCore>>,
}

/// A version that served before, and that could not be read at the start.
#[derive(Debug)]
pub struct UnreadVersion {
    /// Its record.
    pub record: VersionRecord,
    /// The digest of the previous version after which it served; `None` if there was none that could be read.
    pub after: Option<String>,
}

/// The place of a version among the previous versions before it served again.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its index; the latest version has 0.
    pub index: usize,
    /// True if it had been rolled back.
    pub is_withdrawn: bool,
}
