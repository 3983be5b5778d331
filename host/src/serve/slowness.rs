//! How slowly a client reads, and which client is the slowest. If bytes or connections are short, that one makes room first.
//!
//! The rate of a client is measured over a long time, and the measurements of two clients do not end at the same moment.
//! So the first client whose measurement ends is not always the slowest: one that is slower so far, and whose measurement
//! ends soon, is waited for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The rate is measured over at most this time.
const WINDOW: Duration = Duration::from_secs(30);
/// How many times a client is looked at within the time over which its rate is measured.
pub(super) const LOOKS: u32 = 4;

/// The time between two looks at a client. `timeout`: `server.reply_timeout`.
pub(super) fn step(timeout: Duration) -> Duration {
    timeout.min(WINDOW) / LOOKS
}

/// How slowly a client reads. A slower one is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slowness {
    /// Bytes per second.
    pub(super) rate: u64,
    /// Its measurement is not complete yet, and ends within a step.
    pub(super) is_preliminary: bool,
}

/// Chooses the slowest client.
pub(super) struct Slowest {
    /// The time between two looks at a client.
    step: Duration,
    /// Since when a client whose measurement is not complete is waited for.
    waits: Mutex<Option<Instant>>,
}

impl Slowest {
    /// For clients that may read nothing for `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { step: step(timeout), waits: Mutex::new(None) }
    }

    /// Returns the slowest of some clients. `None` if no measurement is complete, or if the slowest client so far must be
    /// waited for, which takes at most a step.
    pub(super) fn choose<T>(&self, clients: impl IntoIterator<Item = (Slowness, T)>) -> Option<T> {
        let (mut known, mut preliminary) = (None::<(Slowness, T)>, None::<Slowness>);
        for (slowness, client) in clients {
            if slowness.is_preliminary {
                preliminary = Some(preliminary.map_or(slowness, |other| other.min(slowness)));
            } else if known.as_ref().is_none_or(|(other, _)| slowness < *other) {
                known = Some((slowness, client));
            }
        }
        let (slowness, client) = known?;
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if preliminary.is_some_and(|preliminary| preliminary < slowness) {
            let now = Instant::now();
            let since = *waits.get_or_insert(now);
            let waited = now.duration_since(since);
            if waited < self.step {
                return None;
            }
            // What was waited for is long past: this is another wait.
            if waited > 3 * self.step {
                *waits = Some(now);
                return None;
            }
        }
        *waits = None;
        Some(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(rate: u64, is_preliminary: bool) -> (Slowness, u64) {
        (Slowness { rate, is_preliminary }, rate)
    }

    #[test]
    fn the_slowest_is_chosen_and_one_that_is_measured_is_waited_for_at_most_once() {
        let slowest = Slowest::new(LOOKS * Duration::from_millis(200));
        assert_eq!(slowest.choose([slow(3, false), slow(1, false), slow(2, false)]), Some(1));
        assert_eq!(slowest.choose([slow(3, false), slow(4, true)]), Some(3), "a faster one is not waited for");
        assert_eq!(slowest.choose([slow(1, true)]), None, "nothing is known yet");
        let clients = || [slow(3, false), slow(2, false), slow(1, true)];
        assert_eq!(slowest.choose(clients()), None);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(slowest.choose(clients()), Some(2), "always another slow one would keep all of them");
        assert_eq!(slowest.choose(clients()), None, "the next one is waited for again");
        assert_eq!(slowest.choose([slow(3, false), slow(1, false)]), Some(1));
    }
}
