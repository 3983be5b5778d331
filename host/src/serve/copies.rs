//! Copies of a reply that is costly to create and that anybody may ask for: `GET /metrics`. The first callers within a
//! short time each get a new one. Further callers get the newest copy, so that pipelined requests cost hardly more than a
//! few.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;

/// A copy is at most this old when it is used again.
const TIME: Duration = Duration::from_millis(250);
/// The replies that are created within this time before copies are used.
const NEW: u32 = 8;

/// The newest copy of a reply.
#[derive(Default)]
pub(super) struct Copies(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the current time began.
    since: Option<Instant>,
    /// The replies that were to be created since then.
    created: u32,
    newest: Option<Bytes>,
}

impl Copies {
    /// Returns the copy to send, or `None` if the reply must be created. Pass it to [`Copies::keep`] then.
    pub(super) fn copy(&self, now: Instant) -> Option<Bytes> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.saturating_duration_since(since) >= TIME) {
            *state = State { since: Some(now), created: 0, newest: None };
        }
        if state.created >= NEW && state.newest.is_some() {
            return state.newest.clone();
        }
        state.created += 1;
        None
    }

    /// Keeps a reply that was created, and returns it.
    pub(super) fn keep(&self, reply: Bytes) -> Bytes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).newest = Some(reply.clone());
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_replies_are_created_in_a_time_however_many_are_asked_for() {
        let copies = Copies::default();
        let begin = Instant::now();
        let mut created = 0;
        // 300 requests each 5 ms, for 2 s.
        for step in 0..400 {
            let now = begin + Duration::from_millis(5 * step);
            for _ in 0..300 {
                match copies.copy(now) {
                    Some(copy) => {
                        let age = std::str::from_utf8(&copy).expect("text").parse::<u64>().expect("a number");
                        assert!(5 * step - age < 250, "a copy of {age} at {}", 5 * step);
                    }
                    None => {
                        created += 1;
                        copies.keep(Bytes::from((5 * step).to_string()));
                    }
                }
            }
        }
        assert_eq!(created, 8 * NEW);
    }

    #[test]
    fn callers_that_are_not_many_each_get_a_new_reply() {
        let copies = Copies::default();
        let begin = Instant::now();
        for step in 0..100 {
            assert_eq!(copies.copy(begin + Duration::from_millis(50 * step)), None);
            copies.keep(Bytes::from("old"));
        }
        // The first replies are not there yet: nobody waits for another.
        let copies = Copies::default();
        assert!((0..20).all(|_| copies.copy(begin).is_none()));
    }
}
