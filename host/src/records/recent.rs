//! The latest requests that have ended, whatever their outcome. They are for the people who operate the server: which
//! requests failed just now, and what did they need?

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

/// Number of requests that are kept.
pub const KEPT: usize = 200;

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct RecentRequest {
    /// Its id, which the caller may have chosen.
    pub id: String,
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The chip that it was routed to.
    pub chip: Arc<str>,
    /// The caller, as the memory report shows it.
    pub caller: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status of the reply, if it is known.
    pub status: Option<u16>,
    /// When it began.
    pub started: SystemTime,
    /// From its start to its end.
    pub duration: Duration,
    /// The part of it that it waited in the queue.
    pub queue_time: Duration,
    /// Its stages.
    pub stages: Vec<StageReport>,
}

/// The latest [`KEPT`] requests.
#[derive(Default)]
pub struct RecentRequests {
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    requests: Vec<RecentRequest>,
    /// Where the next request is put when all places are taken: the oldest one.
    oldest: usize,
}

impl RecentRequests {
    /// Adds a request that has ended. It replaces the oldest one.
    pub fn add(&self, request: RecentRequest) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = ring.add(request);
        drop(ring);
        // Freed without the lock.
        drop(replaced);
    }

    /// The latest requests, the newest first: at most `limit`, all of them or those with one outcome.
    pub fn latest(&self, limit: usize, outcome: Option<Outcome>) -> Vec<RecentRequest> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let (newer, older) = ring.requests.split_at(ring.oldest);
        let newest_first = newer.iter().rev().chain(older.iter().rev());
        let wanted = newest_first.filter(|request| outcome.is_none_or(|outcome| request.outcome == outcome));
        wanted.take(limit).cloned().collect()
    }
}

impl Ring {
    fn add(&mut self, request: RecentRequest) -> Option<RecentRequest> {
        if self.requests.len() < KEPT {
            self.requests.push(request);
            return None;
        }
        let replaced = std::mem::replace(&mut self.requests[self.oldest], request);
        self.oldest = (self.oldest + 1) % KEPT;
        Some(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize) -> RecentRequest {
        let text: Arc<str> = "x".into();
        RecentRequest {
            id: number.to_string(),
            pipeline: Arc::clone(&text),
            chip: Arc::clone(&text),
            caller: text,
            outcome: if number.is_multiple_of(100) { Outcome::Trap } else { Outcome::Ok },
            status: None,
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            queue_time: Duration::ZERO,
            stages: Vec::new(),
        }
    }

    fn ids(recent: &RecentRequests, limit: usize, outcome: Option<Outcome>) -> Vec<usize> {
        recent.latest(limit, outcome).iter().map(|request| request.id.parse().expect("a number")).collect()
    }

    #[test]
    fn the_newest_requests_are_kept_and_come_first() {
        let recent = RecentRequests::default();
        assert_eq!(ids(&recent, KEPT, None), [0_usize; 0]);
        (0..3).for_each(|number| recent.add(request(number)));
        assert_eq!(ids(&recent, KEPT, None), [2, 1, 0]);
        (3..KEPT + 51).for_each(|number| recent.add(request(number)));
        let wanted: Vec<_> = (51..KEPT + 51).rev().collect();
        assert_eq!(ids(&recent, KEPT, None), wanted);
        assert_eq!(ids(&recent, 2, None), wanted[..2]);
        assert_eq!(ids(&recent, KEPT, Some(Outcome::Trap)), [200, 100]);
        assert_eq!(ids(&recent, 1, Some(Outcome::Trap)), [200]);
    }
}
