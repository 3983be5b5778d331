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
    pub(super) stages: Vec<StageReport>,
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

/// When a request began and ended.
pub(super) struct Times {
    pub(super) started: Instant,
    pub(super) ended: Instant,
    pub(super) ended_at: SystemTime,
}

impl Times {
    /// A request that ends now.
    pub(super) fn until_now(started: Instant) -> Self {
        Self { started, ended: Instant::now(), ended_at: SystemTime::now() }
    }

    /// The time of the calendar.
    pub(super) fn at(&self, time: Instant) -> SystemTime {
        let before = self.ended.saturating_duration_since(time);
        self.ended_at.checked_sub(before).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl EndedRequest {
    /// The number of its spans.
    pub(super) fn spans(&self) -> usize {
        1 + self.runs().len()
    }

    /// The stage runs that become spans.
    pub(super) fn runs(&self) -> &[StageReport] {
        &self.stages[..self.stages.len().min(MAX_RUNS)]
    }
}
