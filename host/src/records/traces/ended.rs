//! What is known about a request after its end, from which its spans are made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

use super::place::SpanPlace;

/// Most spans of stage runs of one request; a request with many items may have more runs.
const MAX_RUNS: usize = 512;

/// A request that has ended.
pub(super) struct EndedRequest {
    pub(super) place: SpanPlace,
    pub(super) kind: RequestKind,
    pub(super) times: Times,
    pub(super) id: String,
    pub(super) pipeline: Arc<str>,
    pub(super) chip: Arc<str>,
    pub(super) caller: Arc<str>,
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    /// When it had waited for a slot to run, and how long.
    pub(super) queued: Option<(Instant, Duration)>,
    /// Its first stage runs.
    pub(super) runs: Vec<StageReport>,
    /// The number of its other stage runs.
    pub(super) dropped_runs: usize,
    /// The number of the first stages that ran on an earlier chip, and that chip.
    pub(super) earlier_chips: Vec<(usize, Arc<str>)>,
}

/// What a request is.
pub(super) enum RequestKind {
    /// A request of a caller.
    Call {
        method: &'static str,
        route: &'static str,
        client: Option<SocketAddr>,
        /// The images that ran as requests of their own; 0 if it ran itself.
        images: usize,
    },
    /// An image of a call, at this index.
    Image(usize),
}

/// Converts times of one trace to times of the calendar. All spans of a request use the same one, so that none begins before
/// the span above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    instant: Instant,
    time: SystemTime,
}

impl Clock {
    /// The clock of a request that begins.
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    fn at(&self, time: Instant) -> SystemTime {
        let after = time.checked_duration_since(self.instant);
        let at = match after {
            Some(after) => self.time.checked_add(after),
            None => self.time.checked_sub(self.instant.saturating_duration_since(time)),
        };
        at.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// When a request began and ended.
pub(super) struct Times {
    pub(super) started: Instant,
    pub(super) ended: Instant,
    clock: Clock,
}

impl Times {
    /// A request that ends now.
    pub(super) fn until_now(started: Instant, clock: Clock) -> Self {
        Self { started, ended: Instant::now(), clock }
    }

    /// The time of the calendar.
    pub(super) fn at(&self, time: Instant) -> SystemTime {
        self.clock.at(time)
    }
}

/// The stage runs that become spans, and the number of the others. Only these are copied: a caller chooses how many items a
/// request has.
pub(super) fn first_runs(stages: &[StageReport]) -> (Vec<StageReport>, usize) {
    let (first, others) = stages.split_at(stages.len().min(MAX_RUNS));
    (first.to_vec(), others.len())
}

impl EndedRequest {
    /// The number of its spans.
    pub(super) fn spans(&self) -> usize {
        1 + self.runs.len()
    }
}
