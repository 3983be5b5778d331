//! The figures of one side of a canary: the requests of the old or the new version since the canary began.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;
use tokio::sync::Notify;

use super::canary_counts::CanaryCounts;

/// One side of a canary: the old or the new version.
pub struct CanarySide {
    plugin: Arc<str>,
    counts: Mutex<CanaryCounts>,
    /// Set after each request of the new version.
    signal: Arc<CanarySignal>,
    is_new: bool,
}

/// Wakes the task that decides canaries. Signals that arrive before the task wakes are merged into one.
#[derive(Default)]
pub struct CanarySignal {
    notify: Notify,
    is_set: AtomicBool,
}

impl CanarySignal {
    /// Wakes the task.
    pub fn set(&self) {
        if !self.is_set.swap(true, Relaxed) {
            self.notify.notify_one();
        }
    }

    /// Waits until a canary has new figures, then clears the signal.
    pub async fn wait(&self) {
        self.notify.notified().await;
        self.is_set.store(false, Relaxed);
    }
}

impl CanarySide {
    /// Creates the side of the new (`is_new`) or the old version of `plugin`.
    pub fn new(plugin: &Arc<str>, is_new: bool, signal: &Arc<CanarySignal>) -> Self {
        Self { plugin: Arc::clone(plugin), counts: Mutex::default(), signal: Arc::clone(signal), is_new }
    }

    /// Returns true if `plugin` is the plugin of the canary.
    fn is_of(&self, plugin: &str) -> bool {
        plugin == &*self.plugin
    }

    /// Counts a request that has ended, if it reached the plugin and there was room for an instance. A request in which the
    /// plugin ran several times, for its items or in several steps, counts once: it has failed if one of the runs has, and
    /// has the highest of their marks. Otherwise one request could decide a canary.
    pub fn record_request(&self, stages: &[StageReport]) {
        let is_run = |report: &&StageReport| self.is_of(&report.plugin) && report.outcome != Outcome::NoCapacity;
        let runs = || stages.iter().filter(is_run);
        let Some(highest) = runs().map(|report| report.usage.high_water).max() else { return };
        let is_failure = runs().any(|report| report.outcome.is_plugin_failure());
        self.lock().record(highest, is_failure);
        if self.is_new {
            self.signal.set();
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> CanaryCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, CanaryCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plimsoll_runtime::cap::{PAGE, Usage};
    use plimsoll_runtime::kind::StageKind;

    use super::*;
    use crate::records::canary_counts::CanaryFigures;

    fn report(plugin: &str, outcome: Outcome, pages: u64) -> StageReport {
        StageReport {
            stage: StageKind::Transform.into(),
            plugin: plugin.into(),
            version: "1".into(),
            digest: "0".into(),
            outcome,
            duration: Duration::ZERO,
            usage: Usage { high_water: pages * PAGE, ..Usage::default() },
            started: std::time::Instant::now(),
            max_memory: 0,
            batches: Vec::new(),
        }
    }

    #[test]
    fn a_request_with_many_runs_counts_once() {
        let side = CanarySide::new(&"p".into(), true, &Arc::default());
        let failing: Vec<_> = (1..=64).map(|pages| report("p", Outcome::Trap, pages)).collect();
        side.record_request(&failing);
        assert_eq!(side.counts().figures(), CanaryFigures { requests: 1, failures: 1, p99: 64 * PAGE });
        assert_eq!(side.counts().runs_above(0.0), 1);
        side.record_request(&[report("other", Outcome::Trap, 9), report("p", Outcome::Ok, 1)]);
        // A request that did not reach the plugin, or found no room for an instance, is no evidence.
        side.record_request(&[report("other", Outcome::Trap, 9), report("p", Outcome::NoCapacity, 0)]);
        assert_eq!((side.counts().figures().requests, side.counts().figures().failures), (2, 1));
    }
}
