//! The figures of one side of a canary: the requests of the old or the new version since the canary began.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use plimsoll_runtime::cap::PAGE;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;
use serde::Serialize;
use tokio::sync::Notify;

/// The largest high-water mark that the histogram holds, in pages of 64 KiB: 8 GiB. Higher marks count as this one.
const MAX_PAGES: u64 = 1 << 17;

/// One side of a canary: the old or the new version.
pub struct CanarySide {
    plugin: Arc<str>,
    figures: Mutex<Figures>,
    /// Set after each request of the new version.
    signal: Arc<CanarySignal>,
    is_new: bool,
}

#[derive(Debug)]
struct Figures {
    requests: u64,
    failures: u64,
    /// High-water marks in pages of 64 KiB.
    marks: Histogram<u64>,
}

/// Wakes the task that decides canaries. Signals that arrive before the task wakes are merged into one.
#[derive(Default)]
pub struct CanarySignal {
    notify: Notify,
    is_set: AtomicBool,
}

impl CanarySignal {
    fn set(&self) {
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

/// The figures of one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CanaryFigures {
    /// Requests that reached the plugin and have ended.
    pub requests: u64,
    /// Requests of these in which the plugin ended in a trap, a memory limit or a passed deadline.
    pub failures: u64,
    /// 99th percentile of the plugin's high-water marks in bytes.
    pub p99: u64,
}

impl CanarySide {
    /// Creates the side of the new (`is_new`) or the old version of `plugin`.
    #[expect(clippy::expect_used, reason = "the bounds are constants that the histogram accepts")]
    pub fn new(plugin: &Arc<str>, is_new: bool, signal: &Arc<CanarySignal>) -> Self {
        let marks = Histogram::new_with_bounds(1, MAX_PAGES, 2).expect("the bounds are valid");
        let figures = Mutex::new(Figures { requests: 0, failures: 0, marks });
        Self { plugin: Arc::clone(plugin), figures, signal: Arc::clone(signal), is_new }
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
        let mut figures = self.lock();
        figures.requests += 1;
        figures.marks.saturating_record(highest.div_ceil(PAGE));
        figures.failures += u64::from(runs().any(|report| report.outcome.is_plugin_failure()));
        drop(figures);
        if self.is_new {
            self.signal.set();
        }
    }

    /// The figures so far.
    pub fn figures(&self) -> CanaryFigures {
        let figures = self.lock();
        let p99 = figures.marks.value_at_quantile(0.99) * PAGE;
        CanaryFigures { requests: figures.requests, failures: figures.failures, p99 }
    }

    /// The requests in which the high-water mark of the plugin is larger than `bytes`.
    pub fn runs_above(&self, bytes: f64) -> u64 {
        // A mark is a whole number of pages. The histogram joins neighbouring marks, so this one is not counted either.
        let pages = (bytes / PAGE as f64).min(MAX_PAGES as f64) as u64;
        let figures = self.lock();
        figures.marks.len() - figures.marks.count_between(0, pages)
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plimsoll_runtime::cap::Usage;
    use plimsoll_runtime::kind::StageKind;

    use super::*;

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
        assert_eq!(side.figures(), CanaryFigures { requests: 1, failures: 1, p99: 64 * PAGE });
        assert_eq!(side.runs_above(0.0), 1);
        side.record_request(&[report("other", Outcome::Trap, 9), report("p", Outcome::Ok, 1)]);
        // A request that did not reach the plugin, or found no room for an instance, is no evidence.
        side.record_request(&[report("other", Outcome::Trap, 9), report("p", Outcome::NoCapacity, 0)]);
        assert_eq!((side.figures().requests, side.figures().failures), (2, 1));
    }
}
