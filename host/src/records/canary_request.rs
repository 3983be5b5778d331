//! What one request tells about the plugin of a canary.
//!
//! A request counts once, however many images it has and however often the plugin ran for it. Otherwise one request could
//! decide a canary. It is counted when its last image has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

use super::canary_counts::Ending;
use super::canary_side::CanarySide;

/// A request on one side of a canary. Its images share it. Dropping it counts the request.
pub struct CanaryRequest {
    side: Arc<CanarySide>,
    found: Mutex<Found>,
}

/// What the images that have ended have found.
#[derive(Default)]
struct Found {
    /// The highest mark of the plugin; `None` if it was not reached, or found no room for an instance.
    highest: Option<u64>,
    /// The plugin failed.
    is_failed: bool,
    /// A run of the plugin was cut short.
    is_cut_short: bool,
    /// The request was not answered, because its caller did not wait.
    is_unanswered: bool,
    /// An image ended in an error. Then the host cancels the others, not the caller.
    has_error: bool,
    /// An image was answered with an error for which the request or the version may be to blame.
    is_error: bool,
    /// Such an error is the server's.
    is_internal: bool,
    /// The caller's own time-out passed.
    is_hurried: bool,
}

/// How a part of a request ended: its outcome, and whether its deadline is the caller's own.
#[derive(Debug, Clone, Copy)]
pub struct PartEnd {
    /// The outcome.
    pub outcome: Outcome,
    /// True if the deadline is the caller's own, which is earlier than that of the pipeline.
    pub is_hurried: bool,
}

impl CanaryRequest {
    /// Begins a request on a side.
    pub fn new(side: Arc<CanarySide>) -> Self {
        Self { side, found: Mutex::default() }
    }

    /// Adds an image that has ended, or the whole request if it has only one.
    pub fn add(&self, stages: &[StageReport], end: PartEnd) {
        let is_hurried_end = end.is_hurried && end.outcome == Outcome::Deadline;
        let is_unanswered = is_hurried_end || end.outcome == Outcome::Cancelled;
        // No version can meet any time limit of a caller, so it is not the plugin's failure.
        let is_cut = |outcome| outcome == Outcome::Cancelled || (is_hurried_end && outcome == Outcome::Deadline);
        let mut found = self.lock();
        found.is_unanswered |= is_unanswered;
        found.has_error |= !is_unanswered && end.outcome != Outcome::Ok;
        found.is_hurried |= is_hurried_end;
        let is_error = !is_unanswered && !is_lack(end.outcome) && end.outcome != Outcome::Ok;
        found.is_error |= is_error;
        found.is_internal |= is_error && !blames_request(end.outcome);
        for run in stages.iter().filter(|run| self.side.is_of(&run.plugin) && run.outcome != Outcome::NoCapacity) {
            found.highest = found.highest.max(Some(run.usage.high_water));
            found.is_cut_short |= is_cut(run.outcome);
            found.is_failed |= run.outcome.is_plugin_failure() && !is_cut(run.outcome);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CanaryRequest {
    /// A request that was not answered is no evidence that the plugin works: its caller could have gone because the plugin
    /// hangs. It is evidence against the plugin if other versions are given up less often.
    fn drop(&mut self) {
        let found = std::mem::take(&mut *self.lock());
        let Some(highest) = found.highest else { return };
        let ending = match (found.is_error && !found.is_hurried, found.is_internal) {
            _ if found.is_failed => Ending::Failure,
            (true, true) => Ending::InternalError,
            (true, false) => Ending::Error,
            _ if !found.is_cut_short && !found.is_unanswered => Ending::Good,
            _ if found.is_cut_short && !found.has_error => return self.side.record_given_up(),
            _ => return,
        };
        self.side.record_request(highest, ending);
    }
}

/// Returns true if neither the request nor the version is to blame. A failure of the device may be the version's: its tensors
/// may make each run fail. A real outage hits both versions.
fn is_lack(outcome: Outcome) -> bool {
    outcome == Outcome::NoCapacity
}

/// Returns true if an error blames the request: callers' bad input, as long as the version is right.
fn blames_request(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::UnsupportedMediaType | Outcome::InvalidInput | Outcome::TooLarge)
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

    fn side() -> Arc<CanarySide> {
        Arc::new(CanarySide::new(&"p".into(), true, &Arc::default()))
    }

    /// The requests, failures and given-up requests after one request with these parts.
    fn counted(parts: &[(&[Outcome], Outcome, bool)]) -> (u64, u64, u64) {
        let figures = figures(parts);
        (figures.requests, figures.failures, figures.given_up)
    }

    fn figures(parts: &[(&[Outcome], Outcome, bool)]) -> CanaryFigures {
        let side = side();
        let request = CanaryRequest::new(Arc::clone(&side));
        for (runs, outcome, is_hurried) in parts {
            let runs: Vec<_> = runs.iter().map(|outcome| report("p", *outcome, 1)).collect();
            request.add(&runs, PartEnd { outcome: *outcome, is_hurried: *is_hurried });
        }
        assert_eq!(side.counts().figures().requests, 0, "not before it has ended");
        drop(request);
        side.counts().figures()
    }

    #[test]
    fn a_request_with_many_runs_and_images_counts_once() {
        let side = side();
        let request = CanaryRequest::new(Arc::clone(&side));
        for first in [1, 33] {
            let failing: Vec<_> = (first..first + 32).map(|pages| report("p", Outcome::Trap, pages)).collect();
            request.add(&failing, PartEnd { outcome: Outcome::Trap, is_hurried: false });
        }
        drop(request);
        let figures = CanaryFigures { requests: 1, failures: 1, p99: 64 * PAGE, ..CanaryFigures::default() };
        assert_eq!(side.counts().figures(), figures);
        assert_eq!(side.counts().runs_above(0.0), 1);
        // A request that did not reach the plugin, or found no room for an instance, is no evidence.
        let request = CanaryRequest::new(Arc::clone(&side));
        let stages = [report("other", Outcome::Trap, 9), report("p", Outcome::NoCapacity, 0)];
        request.add(&stages, PartEnd { outcome: Outcome::Trap, is_hurried: false });
        drop(request);
        assert_eq!(side.counts().figures(), figures);
    }

    #[test]
    fn a_request_that_was_given_up_is_no_evidence_of_success() {
        use Outcome::{Cancelled, Deadline, InvalidInput, Ok, Trap};
        assert_eq!(counted(&[(&[Ok], Ok, false)]), (1, 0, 0));
        assert_eq!(counted(&[(&[Ok], InvalidInput, false)]), (1, 0, 0));
        assert_eq!(counted(&[(&[Cancelled], Cancelled, false)]), (0, 0, 1));
        assert_eq!(counted(&[(&[Deadline], Deadline, true)]), (0, 0, 1));
        assert_eq!(counted(&[(&[Deadline], Deadline, false)]), (1, 1, 0), "its own deadline");
        // The plugin had ended before: the caller did not wait for another one.
        assert_eq!(counted(&[(&[Ok], Cancelled, false)]), (0, 0, 0));
        assert_eq!(counted(&[(&[Ok], Deadline, true)]), (0, 0, 0));
        // A failure stays one.
        assert_eq!(counted(&[(&[Trap], Cancelled, false)]), (1, 1, 0));
        assert_eq!(counted(&[(&[Trap], Trap, false), (&[Cancelled], Cancelled, false)]), (1, 1, 0));
        // The host cancelled the other images, because one is invalid: the request was answered.
        assert_eq!(counted(&[(&[Ok], InvalidInput, false), (&[Cancelled], Cancelled, false)]), (1, 0, 0));
        assert_eq!(counted(&[(&[Ok], InvalidInput, true), (&[Deadline], Deadline, true)]), (0, 0, 0));
    }

    #[test]
    fn a_request_that_was_answered_with_an_error_is_counted_as_one() {
        use Outcome::{Cancelled, Deadline, InvalidInput, NoCapacity, Ok, OutputLimit, TensorMismatch, Trap};
        let errors = |parts: &[(&[Outcome], Outcome, bool)]| {
            let figures = figures(parts);
            (figures.requests, figures.failures, figures.errors, figures.internal_errors)
        };
        assert_eq!(errors(&[(&[InvalidInput], InvalidInput, false)]), (1, 0, 1, 0));
        assert_eq!(errors(&[(&[OutputLimit], OutputLimit, false)]), (1, 0, 1, 1));
        // The next stage refuses what the plugin made, or another plugin fails.
        for outcome in [TensorMismatch, Trap, Deadline] {
            assert_eq!(errors(&[(&[Ok], outcome, false)]), (1, 0, 1, 1), "{outcome:?}");
        }
        assert_eq!(errors(&[(&[Ok], NoCapacity, false)]), (1, 0, 0, 0), "the version is not to blame");
        assert_eq!(errors(&[(&[Trap], Trap, false)]), (1, 1, 0, 0), "a failure is counted as one only");
        let images: &[(&[Outcome], Outcome, bool)] =
            &[(&[Ok], Ok, false), (&[InvalidInput], InvalidInput, false), (&[Cancelled], Cancelled, false)];
        assert_eq!(errors(images), (1, 0, 1, 0), "many images are one request");
    }
}
