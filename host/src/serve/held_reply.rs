//! The bytes of a large reply that its client has not read yet, and how fast the client reads them.
//!
//! A client that reads a few bytes now and then would keep the rest of its reply in memory for as long as it likes. So
//! the rate of each client is measured. A client that is slower than `server.reply_min_rate` may keep its bytes only while
//! nothing else needs them: if a reply waits for `server.reply_budget`, the slowest of these replies are cut off
//! (`slowness`).
//! The rate is that of the system's buffer for the connection, which takes some megabytes at once, so it is measured over
//! a long time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use super::byte_budget::{ByteBudget, Reservation};
use super::open_connection::RunningState;
use super::slowness::{LOOKS, Slowest, Slowness, step};

/// Why a reply was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CutOff {
    /// The client does not read it.
    #[error("the client read nothing of its reply for {0:?} (`server.reply_timeout`)")]
    Unread(Duration),
    /// The client reads it slowly, and another reply needs the bytes.
    #[error(
        "the client reads less than {0} bytes per second (`server.reply_min_rate`), and other replies wait for \
         `server.reply_budget`"
    )]
    Slow(u64),
}

/// The bytes that are left of a reply.
pub(super) struct HeldReply {
    unsent: Mutex<Result<Unsent, CutOff>>,
    running: Arc<RunningState>,
}

struct Unsent {
    bytes: Bytes,
    /// Bytes and pieces that were taken so far.
    taken: u64,
    pieces: u64,
    _reserved: Reservation,
}

/// A piece of a reply.
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) is_last: bool,
}

impl HeldReply {
    pub(super) fn new(bytes: Bytes, reserved: Reservation, running: Arc<RunningState>) -> Arc<Self> {
        running.set_slowness(None);
        let unsent = Unsent { bytes, taken: 0, pieces: 0, _reserved: reserved };
        Arc::new(Self { unsent: Mutex::new(Ok(unsent)), running })
    }

    fn lock(&self) -> MutexGuard<'_, Result<Unsent, CutOff>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next piece. The first two have at most `first` bytes, the others at most `other`.
    pub(super) fn take(&self, first: usize, other: usize) -> Result<Piece, CutOff> {
        let mut unsent = self.lock();
        let unsent = unsent.as_mut().map_err(|why| *why)?;
        // hyper takes one piece more than the client allows.
        let most = if unsent.pieces < 2 { first } else { other };
        let bytes = unsent.bytes.split_to(unsent.bytes.len().min(most));
        unsent.pieces += 1;
        unsent.taken += bytes.len() as u64;
        let is_last = unsent.bytes.is_empty();
        // hyper may keep the last piece for long. A slice of the reply would keep all of it in memory, uncounted.
        Ok(Piece { bytes: if is_last { Bytes::copy_from_slice(&bytes) } else { bytes }, is_last })
    }

    /// Bytes that were taken so far. `None` if the reply was cut off.
    fn taken(&self) -> Option<u64> {
        self.lock().as_ref().ok().map(|unsent| unsent.taken)
    }

    /// Drops the bytes. The connection closes then.
    fn cut_off(&self, why: CutOff) {
        let Ok(unsent) = std::mem::replace(&mut *self.lock(), Err(why)) else { return };
        tracing::warn!(bytes = unsent.bytes.len(), "a reply was cut off: {why}");
        drop(unsent);
        self.running.cut_off();
    }
}

impl Drop for HeldReply {
    fn drop(&mut self) {
        self.running.set_slowness(None);
    }
}

/// Observes how a client reads its reply, and cuts the reply off if it reads nothing for `timeout`, or too little while
/// other replies wait.
pub(super) async fn observe(reply: Weak<HeldReply>, slow: Arc<SlowReplies>, timeout: Duration) {
    let step = step(timeout);
    // What had been taken at the last looks. The first look begins the measurement: until then, the system's buffer for the
    // connection was filled.
    let mut earlier = VecDeque::new();
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep(step).await;
        let Some(reply) = reply.upgrade() else { return };
        let Some(taken) = reply.taken() else { return };
        if taken != seen {
            (seen, since) = (taken, Instant::now());
        }
        if since.elapsed() >= timeout {
            return reply.cut_off(CutOff::Unread(timeout));
        }
        let (looks, first) = (earlier.len() as u32, earlier.front().copied().unwrap_or(taken));
        // The measurement is complete after a window, and preliminary a step before.
        if looks + 1 >= LOOKS {
            let rate = u128::from(taken - first) * 1_000 / (step * looks).as_millis().max(1);
            slow.judge(&reply, Slowness { rate: rate as u64, is_preliminary: looks < LOOKS });
        }
        earlier.push_back(taken);
        if looks >= LOOKS {
            earlier.pop_front();
        }
    }
}

/// The replies whose clients are slower than the minimum rate.
pub(super) struct SlowReplies {
    budget: Arc<ByteBudget>,
    /// Bytes per second; 0 for no minimum.
    min_rate: u64,
    replies: Mutex<Vec<Weak<HeldReply>>>,
    slowest: Slowest,
}

impl SlowReplies {
    pub(super) fn new(budget: Arc<ByteBudget>, min_rate: u64, timeout: Duration) -> Self {
        Self { budget, min_rate, replies: Mutex::default(), slowest: Slowest::new(timeout) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<HeldReply>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client of `reply` reads it with this rate.
    fn judge(&self, reply: &Arc<HeldReply>, slowness: Slowness) {
        let is_slow = slowness.rate < self.min_rate;
        reply.running.set_slowness(is_slow.then_some(slowness));
        let mut replies = self.lock();
        replies.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(reply)));
        if is_slow {
            replies.push(Arc::downgrade(reply));
            drop(replies);
            self.make_room();
        }
    }

    /// Cuts off the slowest replies while other replies wait for bytes.
    pub(super) fn make_room(&self) {
        while self.budget.has_waiting()
            && let Some(slowest) = self.slowest()
        {
            slowest.cut_off(CutOff::Slow(self.min_rate));
        }
    }

    fn slowest(&self) -> Option<Arc<HeldReply>> {
        let replies = self.lock();
        let slow = replies.iter().filter_map(|reply| {
            let reply = reply.upgrade()?;
            // `None` if it was cut off.
            Some((reply.running.slowness()?, reply))
        });
        self.slowest.choose(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::open_connection::Running;

    const WINDOW: Duration = Duration::from_secs(10);

    async fn held(budget: &Arc<ByteBudget>, bytes: usize) -> Arc<HeldReply> {
        let mut reserved = budget.reserve();
        reserved.grow(bytes as u64).await.expect("free");
        let running = Arc::new(RunningState::new(Weak::new(), WINDOW));
        HeldReply::new(vec![0; bytes].into(), reserved, Arc::clone(Running::new(running).state()))
    }

    /// The slowest reply goes first, only as many as needed, and none above the rate.
    #[tokio::test]
    async fn the_slowest_replies_make_room_for_one_that_waits() {
        let budget = ByteBudget::new(300, 0, Duration::from_secs(60));
        let slow = SlowReplies::new(Arc::clone(&budget), 10, WINDOW);
        let replies = [held(&budget, 100).await, held(&budget, 100).await, held(&budget, 100).await];
        let judge = |reply, rate| slow.judge(reply, Slowness { rate, is_preliminary: false });
        for (reply, rate) in replies.iter().zip([2, 10, 1]) {
            judge(reply, rate);
        }
        let is_cut_off = || replies.each_ref().map(|reply| reply.taken().is_none());
        assert_eq!(is_cut_off(), [false; 3], "nothing waits");
        let waits = async |bytes| {
            let mut waits = budget.reserve();
            let (grown, ()) = tokio::join!(waits.grow(bytes), async { slow.make_room() });
            grown.map(|()| waits)
        };
        let first = waits(90).await.expect("room");
        assert_eq!(is_cut_off(), [false, false, true]);
        // It is slow no more, and then it is the only one.
        judge(&replies[0], 10);
        let waiting = tokio::time::timeout(Duration::from_millis(50), waits(90));
        assert!(waiting.await.is_err(), "a client at the minimum rate keeps its reply");
        assert_eq!(is_cut_off(), [false, false, true]);
        drop(first);
    }
}
