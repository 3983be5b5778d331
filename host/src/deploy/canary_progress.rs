//! How far a canary is, for the administration routes: its figures, the limits by which it is decided, and about how long
//! that still takes.

use std::time::Duration;

use serde::Serialize;

use super::canary::CanaryComparison;
use crate::config::CanaryRules;
use crate::records::canary_counts::CanaryFigures;

/// The figures of a canary next to its limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CanaryProgress {
    /// The figures so far.
    #[serde(flatten)]
    pub figures: CanaryComparison,
    /// The part of the requests that the new version gets, from 0 to 0.5.
    pub share: f64,
    /// Seconds since the canary began.
    pub seconds: f64,
    /// The new version's odds of a failure (failures for each request without one), as a multiple of the old version's.
    /// `None` if the old version has no failure.
    pub failure_ratio: Option<f64>,
    /// The new version is rolled back if its odds of a failure are clearly above this multiple.
    pub failure_factor: f64,
    /// The new version's p99 high-water mark, as a multiple of the old version's. `None` until both have one.
    pub p99_ratio: Option<f64>,
    /// The new version is rolled back if its p99 high-water mark is clearly above this multiple.
    pub memory_factor: f64,
    /// Seconds until the new version has the requests that it needs, at the rate so far. `None` if it had no request yet,
    /// or has enough of them and is not decided.
    pub seconds_left: Option<f64>,
    /// The other servers, if they decide with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetProgress>,
}

/// How far the other servers of a fleet are. The figures of the canary are the sums of all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FleetProgress {
    /// The canaries of other servers whose requests are counted.
    pub others: usize,
    /// This server would promote the version.
    pub is_ready: bool,
    /// Another server is not ready, or was not asked yet.
    pub waits: bool,
}

impl CanaryProgress {
    /// The progress after `time`.
    pub(super) fn new(
        figures: CanaryComparison,
        rules: &CanaryRules,
        time: Duration,
        fleet: Option<FleetProgress>,
    ) -> Self {
        let (new, old) = (figures.new, figures.old);
        let ratio = |new: f64, old: f64| (old > 0.0).then(|| new / old);
        // Half a request instead of none, because JSON has no infinite number.
        let odds = |it: &CanaryFigures| it.failures as f64 / (it.requests.saturating_sub(it.failures) as f64).max(0.5);
        let has_both = new.requests > 0 && old.requests > 0;
        let left = figures.wanted.saturating_sub(new.requests) as f64;
        let seconds = time.as_secs_f64();
        Self {
            share: rules.share,
            seconds,
            failure_ratio: ratio(odds(&new), odds(&old)),
            failure_factor: rules.failure_factor,
            p99_ratio: ratio(new.p99 as f64, old.p99 as f64).filter(|_| has_both),
            memory_factor: rules.memory_factor,
            seconds_left: (new.requests > 0 && left > 0.0).then(|| left * seconds / new.requests as f64),
            fleet,
            figures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_follows_from_the_figures() {
        let rules = CanaryRules {
            share: 0.25,
            requests: 100,
            failure_factor: 2.0,
            memory_factor: 1.5,
            by: crate::config::CanaryBy::Request,
        };
        let progress = |new, old| {
            let figures =
                |(requests, failures, p99)| CanaryFigures { requests, failures, p99, ..CanaryFigures::default() };
            let (new, old) = (figures(new), figures(old));
            let comparison = CanaryComparison { pipeline: "p".into(), wanted: 100, new, old, large: (0, 0) };
            let progress = CanaryProgress::new(comparison, &rules, Duration::from_secs(10), None);
            (progress.failure_ratio, progress.p99_ratio, progress.seconds_left)
        };
        assert_eq!(progress((0, 0, 0), (0, 0, 0)), (None, None, None));
        assert_eq!(progress((20, 4, 300), (60, 6, 200)), (Some(2.25), Some(1.5), Some(40.0)));
        assert_eq!(progress((20, 20, 300), (60, 30, 200)).0, Some(40.0), "no ceiling");
        assert_eq!(progress((20, 2, 300), (60, 0, 200)).0, None, "there is nothing to compare with");
        assert_eq!(
            progress((120, 0, 200), (60, 0, 200)),
            (None, Some(1.0), None),
            "it is not decided in spite of that"
        );
    }
}
