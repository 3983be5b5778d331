//! The time in which a body must arrive, and the rate below which its sender is too slow.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::byte_budget::Arrival;
use crate::config::Server;

/// The rate is measured over this time, so that short pauses do not matter.
const WINDOW: Duration = Duration::from_secs(10);

/// Measures how fast a body arrives.
pub struct Pace {
    time: Duration,
    until: Instant,
    window: Duration,
    window_ends: Instant,
    /// Bytes that arrived in this window.
    arrived: u64,
    /// Bytes that must arrive in a window.
    wanted: u64,
    rate: u64,
    /// Shows to the byte budget how fast it arrives.
    arrival: Arc<Arrival>,
    /// Created when the server must wait for the body, which is rare for small bodies.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A body that arrives too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It did not arrive in time.
    Time(Duration),
    /// Its rate is below `server.body_min_rate`, in bytes per second.
    Rate {
        /// The minimum rate.
        rate: u64,
        /// The time over which it was measured.
        window: Duration,
    },
    /// It arrived slower than it needs to be complete in time, while other bodies waited for bytes.
    Crowded,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "did not arrive within {time:?}"),
            Self::Rate { rate, window } => {
                write!(f, "arrived slower than {rate} bytes per second for {window:?} (`server.body_min_rate`)")
            }
            Self::Crowded => f.write_str(
                "arrived too slowly to be complete in time, while other requests waited for the bytes that it holds \
                 (`server.body_budget`)",
            ),
        }
    }
}

impl Pace {
    /// Starts the clock of a body that must arrive within `time`.
    pub fn start(server: &Server, time: Duration) -> Self {
        let now = Instant::now();
        let window = WINDOW.min(server.body_timeout);
        let rate = server.body_min_rate.as_u64();
        Self {
            time,
            until: now + time,
            window,
            window_ends: now + window,
            arrived: 0,
            wanted: if rate == 0 { 0 } else { (rate.saturating_mul(window.as_millis() as u64) / 1000).max(1) },
            rate,
            arrival: Arrival::new(time),
            timer: None,
        }
    }

    /// Shows to the byte budget how fast the body arrives.
    pub fn arrival(&self) -> &Arc<Arrival> {
        &self.arrival
    }

    /// Sets whether a part of the body is missing.
    pub fn set_receiving(&self, is_receiving: bool) {
        self.arrival.set_receiving(is_receiving);
    }

    /// Starts the clock again, for the next message of a stream.
    pub fn restart(&mut self) {
        let now = Instant::now();
        (self.until, self.window_ends, self.arrived) = (now + self.time, now + self.window, 0);
    }

    /// Counts bytes that arrived.
    pub fn arrived(&mut self, bytes: usize) {
        self.arrived = self.arrived.saturating_add(bytes as u64);
        self.arrival.add(bytes);
    }

    /// All bytes have arrived, and only the end of the body is missing: from now on there is no rate.
    pub fn waits_for_end(&mut self) {
        self.wanted = 0;
    }

    /// Adds time in which the host, not the sender, was busy.
    pub fn pause(&mut self, paused: Duration) {
        self.until += paused;
        self.window_ends += paused;
    }

    /// Call this if no bytes have arrived. Completes when the body is late.
    pub fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        if self.arrival.poll_ended(context) {
            return Poll::Ready(Late::Crowded);
        }
        loop {
            let next = self.until.min(self.window_ends);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            ready!(timer.as_mut().poll(context));
            let now = Instant::now();
            if now >= self.until {
                return Poll::Ready(Late::Time(self.time));
            }
            if self.arrived < self.wanted {
                return Poll::Ready(Late::Rate { rate: self.rate, window: self.window });
            }
            (self.window_ends, self.arrived) = (now + self.window, 0);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.set_receiving(false);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytesize::ByteSize;

    use super::*;

    #[tokio::test]
    async fn a_body_slower_than_the_rate_is_late_before_its_time_is_over() {
        let window = Duration::from_millis(40);
        let server = Server { body_timeout: window, body_min_rate: ByteSize::b(1_000), ..Server::default() };
        let mut pace = Pace::start(&server, Duration::from_secs(60));
        // Enough for the first window of 40 ms, and nothing in the second.
        pace.arrived(40);
        let since = Instant::now();
        let late = poll_fn(|context| pace.poll_late(context)).await;
        assert_eq!(late, Late::Rate { rate: 1_000, window });
        assert!(since.elapsed() >= 2 * window, "{:?}", since.elapsed());
        let server = Server { body_min_rate: ByteSize::b(0), ..server };
        let mut pace = Pace::start(&server, 3 * window);
        assert_eq!(poll_fn(|context| pace.poll_late(context)).await, Late::Time(3 * window));
    }
}
