//! What a canary has counted of one version, in a form that servers exchange and add up.

use hdrhistogram::Histogram;
use plimsoll_runtime::cap::PAGE;
use serde::{Deserialize, Serialize};

/// The largest high-water mark that is distinguished, in pages of 64 KiB: 8 GiB. Higher marks count as this one.
const MAX_PAGES: u64 = 1 << 17;

/// The requests of one version, its failures, and its high-water marks.
#[derive(Debug, Clone)]
pub struct CanaryCounts {
    requests: u64,
    failures: u64,
    errors: u64,
    internal_errors: u64,
    given_up: u64,
    /// High-water marks in pages of 64 KiB.
    marks: Histogram<u64>,
}

/// How a request that reached the plugin has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Without an error, or with one that neither the request nor the version has caused.
    Good,
    /// The plugin ended in a trap, a memory limit or a passed deadline.
    Failure,
    /// It was answered with an error that blames the request.
    Error,
    /// It was answered with an error of the server.
    InternalError,
}

/// The figures of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CanaryFigures {
    /// Requests that reached the plugin and have ended. Those that were given up are not among them.
    pub requests: u64,
    /// Requests of these in which the plugin ended in a trap, a memory limit or a passed deadline.
    pub failures: u64,
    /// Requests of these that were answered with another error, also if it blames the request.
    pub errors: u64,
    /// Errors of these that are the server's: a plugin that answered `internal`, more bytes than allowed, tensors that the next
    /// stage refuses, or a failure of another plugin.
    pub internal_errors: u64,
    /// Requests that their callers gave up while the plugin ran: they disconnected, or their own time-out passed.
    pub given_up: u64,
    /// 99th percentile of the plugin's high-water marks in bytes.
    pub p99: u64,
}

/// The counts as servers send them to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCounts {
    /// Requests that reached the plugin and have ended.
    pub requests: u64,
    /// Requests of these in which the plugin failed.
    pub failures: u64,
    /// Requests of these that were answered with another error.
    #[serde(default)]
    pub errors: u64,
    /// Errors of these that are the server's.
    #[serde(default)]
    pub internal_errors: u64,
    /// Requests that were given up while the plugin ran.
    #[serde(default)]
    pub given_up: u64,
    /// High-water marks in pages of 64 KiB, each with the number of requests that had it.
    pub marks: Vec<(u64, u64)>,
}

impl Default for CanaryCounts {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the histogram accepts")]
    fn default() -> Self {
        let marks = Histogram::new_with_bounds(1, MAX_PAGES, 2).expect("the bounds are valid");
        Self { requests: 0, failures: 0, errors: 0, internal_errors: 0, given_up: 0, marks }
    }
}

impl CanaryCounts {
    /// Counts a request whose highest mark is `bytes`.
    pub(super) fn record(&mut self, bytes: u64, ending: Ending) {
        self.requests += 1;
        self.marks.saturating_record(bytes.div_ceil(PAGE));
        self.failures += u64::from(ending == Ending::Failure);
        self.errors += u64::from(matches!(ending, Ending::Error | Ending::InternalError));
        self.internal_errors += u64::from(ending == Ending::InternalError);
    }

    /// Counts a request that was given up while the plugin ran.
    pub(super) fn record_given_up(&mut self) {
        self.given_up += 1;
    }

    /// The figures.
    pub fn figures(&self) -> CanaryFigures {
        let p99 = self.marks.value_at_quantile(0.99) * PAGE;
        let Self { requests, failures, errors, internal_errors, given_up, .. } = *self;
        CanaryFigures { requests, failures, errors, internal_errors, given_up, p99 }
    }

    /// The requests in which the high-water mark of the plugin is larger than `bytes`.
    pub fn runs_above(&self, bytes: f64) -> u64 {
        // A mark is a whole number of pages. The histogram joins neighbouring marks, so this one is not counted either.
        let pages = (bytes / PAGE as f64).min(MAX_PAGES as f64) as u64;
        self.marks.len() - self.marks.count_between(0, pages)
    }

    /// Adds the counts of another server.
    pub fn add(&mut self, other: &SentCounts) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failures = self.failures.saturating_add(other.failures);
        self.errors = self.errors.saturating_add(other.errors);
        self.internal_errors = self.internal_errors.saturating_add(other.internal_errors);
        self.given_up = self.given_up.saturating_add(other.given_up);
        for &(pages, count) in &other.marks {
            self.marks.saturating_record_n(pages, count);
        }
    }

    /// The counts for other servers.
    pub fn sent(&self) -> SentCounts {
        let marks = self.marks.iter_recorded().map(|mark| (mark.value_iterated_to(), mark.count_at_value())).collect();
        let Self { requests, failures, errors, internal_errors, given_up, .. } = *self;
        SentCounts { requests, failures, errors, internal_errors, given_up, marks }
    }
}

impl SentCounts {
    /// The most requests that are believed.
    const MOST: u64 = 1 << 50;

    /// The most different marks that the histogram has, which are fewer. Servers keep what others send.
    const MOST_MARKS: usize = 2_048;

    /// Returns true if the counts can be those of a server: each request has one mark, and not more ended badly than there were.
    pub fn is_plausible(&self) -> bool {
        if self.marks.len() > Self::MOST_MARKS {
            return false;
        }
        let marks = self.marks.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
        let bad = self.failures.checked_add(self.errors);
        self.requests.max(self.given_up) <= Self::MOST
            && bad.is_some_and(|bad| bad <= self.requests)
            && self.internal_errors <= self.errors
            && marks == Some(self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_servers_is_that_of_one_server_with_all_requests() {
        let (mut one, mut sum) = (CanaryCounts::default(), CanaryCounts::default());
        for server in 0..3_u64 {
            let mut counts = CanaryCounts::default();
            for request in 0..500 {
                let ending = match request % 50 {
                    at if at == server => Ending::Failure,
                    10 => Ending::Error,
                    11..14 => Ending::InternalError,
                    _ => Ending::Good,
                };
                let bytes = (server * 997 + request * 31) % 9_000 * PAGE;
                one.record(bytes, ending);
                counts.record(bytes, ending);
            }
            one.record_given_up();
            counts.record_given_up();
            let sent = serde_json::to_string(&counts.sent()).expect("written");
            let sent: SentCounts = serde_json::from_str(&sent).expect("read");
            assert!(sent.is_plausible());
            sum.add(&sent);
        }
        assert_eq!(sum.figures(), one.figures());
        for pages in [0, 1, 100, 4_500, 8_999, 20_000] {
            let bytes = (pages * PAGE) as f64;
            assert_eq!(sum.runs_above(bytes), one.runs_above(bytes), "{pages}");
        }
        assert_eq!(sum.sent(), one.sent());
    }

    #[test]
    fn the_marks_of_a_server_are_fewer_than_are_believed() {
        let mut all = CanaryCounts::default();
        (0..=MAX_PAGES).for_each(|pages| all.record(pages * PAGE, Ending::Good));
        let sent = all.sent();
        assert!(sent.is_plausible() && sent.marks.len() > SentCounts::MOST_MARKS / 2, "{}", sent.marks.len());
    }

    #[test]
    fn counts_that_no_server_has_are_not_plausible() {
        let counts = |requests, failures, marks: &[(u64, u64)]| {
            let marks = marks.to_vec();
            SentCounts { requests, failures, marks, ..SentCounts::default() }
        };
        assert!(counts(3, 1, &[(5, 2), (9, 1)]).is_plausible() && SentCounts::default().is_plausible());
        for wrong in [
            counts(3, 4, &[(5, 3)]),
            counts(3, 1, &[(5, 2)]),
            counts(3, 1, &[(5, u64::MAX), (6, 4)]),
            counts(u64::MAX, 0, &[(1, u64::MAX)]),
            counts(3, 0, &[[(1, 3)].as_slice(), &[(2, 0); SentCounts::MOST_MARKS]].concat()),
            SentCounts { errors: 3, ..counts(3, 1, &[(5, 3)]) },
            SentCounts { errors: u64::MAX, ..counts(3, 1, &[(5, 3)]) },
            SentCounts { errors: 1, internal_errors: 2, ..counts(3, 1, &[(5, 3)]) },
        ] {
            assert!(!wrong.is_plausible(), "{wrong:?}");
        }
    }
}
