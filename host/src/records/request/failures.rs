//! Which failed runs of a request are logged: the first ones of each stage. A step that runs for each item may fail for
//! thousands, and the caller chooses how many there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_runtime::kind::StageName;

/// The number of failed runs of a stage whose error and output are logged.
const LOGGED: u64 = 3;

/// The failed runs of a request, by stage.
#[derive(Default)]
pub(super) struct Failures(Mutex<BTreeMap<StageName, u64>>);

impl Failures {
    /// Counts a failed run. Returns true if it is logged.
    pub(super) fn add(&self, stage: &StageName) -> bool {
        let mut failed = self.counts();
        let count = failed.entry(stage.clone()).or_default();
        *count += 1;
        *count <= LOGGED
    }

    /// True if the output of a run of this stage is logged.
    pub(super) fn logs_output(&self, stage: &StageName) -> bool {
        self.counts().get(stage).is_none_or(|count| *count < LOGGED)
    }

    /// Logs how many failed runs were not logged.
    pub(super) fn log_rest(&self, request: &str) {
        for (stage, count) in self.counts().iter().filter(|(_, count)| **count > LOGGED) {
            tracing::warn!(
                target: "plimsoll::stage",
                request,
                stage = stage.as_str(),
                failed = count,
                "{count} runs of this step failed; errors after the first {LOGGED} are not logged"
            );
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<StageName, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
