//! How fast the bytes of a reservation arrive. While other reservations wait, one whose bytes arrive too slowly is ended.
//!
//! A sender could send most of a large body at once and the rest as slowly as it likes, and so keep its bytes from others. So
//! while others wait, every body must go on at the rate that it needs as a whole: the bytes that it holds, in the time that
//! it has. Who sends at an even rate and in time is always that fast.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;

/// The bytes of a reservation that have arrived so far.
pub struct Arrival {
    /// The time for all of them.
    time: Duration,
    arrived: AtomicU64,
    is_receiving: AtomicBool,
    is_ended: AtomicBool,
    waker: AtomicWaker,
}

impl Arrival {
    /// Bytes that must arrive within `time`.
    pub fn new(time: Duration) -> Arc<Self> {
        Arc::new(Self {
            time,
            arrived: AtomicU64::new(0),
            is_receiving: AtomicBool::new(true),
            is_ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Counts bytes that arrived.
    pub fn add(&self, bytes: usize) {
        self.arrived.fetch_add(bytes as u64, Relaxed);
    }

    /// Sets whether more bytes must arrive.
    pub fn set_receiving(&self, is_receiving: bool) {
        // If it was ended after all bytes had arrived, that was too late, and does not concern the next message.
        if !self.is_receiving.swap(is_receiving, Relaxed) {
            self.is_ended.store(false, Relaxed);
        }
    }

    /// Returns true if the reservation must be dropped. Otherwise the task is woken when it must be.
    pub fn poll_ended(&self, context: &mut Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.is_ended()
    }

    fn is_ended(&self) -> bool {
        self.is_ended.load(Relaxed) && self.is_receiving.load(Relaxed)
    }

    fn end(&self) {
        self.is_ended.store(true, Relaxed);
        self.waker.wake();
    }
}

/// The arrival of a reservation's bytes, at the last look.
pub(super) struct Followed {
    arrival: Arc<Arrival>,
    /// The bytes that had arrived; `None` if they were not expected to arrive all the time.
    seen: Option<u64>,
}

impl Followed {
    pub(super) fn new(arrival: &Arc<Arrival>) -> Self {
        Self { arrival: Arc::clone(arrival), seen: None }
    }

    /// The reservation waits for bytes, so it is not its sender that is slow.
    pub(super) fn waits(&mut self) {
        self.seen = None;
    }

    /// Looks at the bytes that have arrived.
    pub(super) fn look(&mut self, waits: bool) {
        let is_expected = !waits && self.arrival.is_receiving.load(Relaxed) && !self.is_ended();
        self.seen = is_expected.then(|| self.arrival.arrived.load(Relaxed));
    }

    /// The rate since the last look, as a part of the one that a reservation of `held` bytes needs; `None` if it is fast enough
    /// or not known.
    pub(super) fn slowness(&self, held: u64, since: Duration) -> Option<f64> {
        let seen = self.seen.filter(|_| self.arrival.is_receiving.load(Relaxed))?;
        let rate = self.arrival.arrived.load(Relaxed).saturating_sub(seen) as f64 / since.as_secs_f64();
        let needed = held as f64 / self.arrival.time.as_secs_f64().max(f64::EPSILON);
        (rate < needed).then(|| rate / needed)
    }

    /// Ends the reservation.
    pub(super) fn end(&mut self) {
        self.seen = None;
        self.arrival.end();
    }

    /// Returns true if it was ended, and is about to be dropped.
    pub(super) fn is_ended(&self) -> bool {
        self.arrival.is_ended()
    }
}
