//! The reservation of a reply. Replies that wait for `server.reply_budget` are in memory too, so their bytes are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use super::byte_budget::Reservation;
use super::overloaded::Overloaded;

/// The bytes of all replies that wait.
#[derive(Clone, Default)]
pub(super) struct WaitingReplies(Arc<AtomicU64>);

/// A reply that waits for its budget. At most as many bytes wait as the budget has.
struct WaitingReply {
    all: WaitingReplies,
    bytes: u64,
}

/// A reservation for one reply, which may have to wait for its bytes.
pub(super) struct ReplyReservation {
    all: WaitingReplies,
    reserved: Reservation,
    waiting: Option<WaitingReply>,
}

impl WaitingReply {
    /// `most` is the budget.
    ///
    /// # Errors
    /// If too many bytes wait already.
    fn new(all: &WaitingReplies, bytes: u64, most: u64) -> Result<Self, Overloaded> {
        let this = Self { all: all.clone(), bytes };
        let before = all.0.fetch_add(bytes, Relaxed);
        if before > 0 && before.saturating_add(bytes) > most { Err(Overloaded::replies()) } else { Ok(this) }
    }
}

impl Drop for WaitingReply {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Relaxed);
    }
}

impl ReplyReservation {
    pub(super) fn new(all: &WaitingReplies, reserved: Reservation) -> Self {
        Self { all: all.clone(), reserved, waiting: None }
    }

    /// Grows to `bytes`, at most to `most`, which is the budget. After `Pending`, call it again with the same numbers.
    pub(super) fn poll_grow(
        &mut self,
        context: &mut Context<'_>,
        bytes: u64,
        most: u64,
    ) -> Poll<Result<(), Overloaded>> {
        // A reply that is larger than the budget may take all of it.
        let wanted = bytes.min(most);
        if self.waiting.is_none() {
            if self.reserved.try_grow(wanted).is_ok() {
                return Poll::Ready(Ok(()));
            }
            self.waiting = Some(WaitingReply::new(&self.all, wanted, most)?);
        }
        let grown = ready!(self.reserved.poll_grow(context, wanted));
        self.waiting = None;
        Poll::Ready(grown.map_err(|_| Overloaded::replies()))
    }

    /// The reservation, when it has grown.
    pub(super) fn into_inner(self) -> Reservation {
        self.reserved
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::serve::byte_budget::ByteBudget;

    /// Replies of HTTP and messages of gRPC wait in the same way.
    #[tokio::test]
    async fn as_many_bytes_wait_as_the_budget_has() {
        /// Smaller replies do not wait behind others.
        const UNIT: u64 = 1 << 20;
        const MOST: u64 = 100 * UNIT;
        let budget = ByteBudget::new(MOST, 0, Duration::from_secs(600));
        let all = WaitingReplies::default();
        let poll = |reply: &mut ReplyReservation, bytes| match reply.poll_grow(
            &mut Context::from_waker(Waker::noop()),
            bytes * UNIT,
            MOST,
        ) {
            Poll::Ready(grown) => Some(grown.is_ok()),
            Poll::Pending => None,
        };
        let mut replies: [_; 5] = std::array::from_fn(|_| ReplyReservation::new(&all, budget.reserve()));
        let [first, second, third, fourth, fifth] = &mut replies;
        assert_eq!(poll(first, 60), Some(true));
        assert_eq!(poll(second, 60), None);
        assert_eq!(poll(third, 41), Some(false), "101 bytes would wait");
        assert_eq!(poll(fourth, 40), None);
        assert_eq!(poll(second, 60), None, "it waits once");
        assert_eq!(all.0.load(Relaxed), MOST);
        *first = ReplyReservation::new(&all, budget.reserve());
        assert_eq!((poll(second, 60), poll(fourth, 40)), (Some(true), Some(true)));
        assert_eq!(all.0.load(Relaxed), 0);
        assert_eq!(poll(fifth, 1_000), None, "a single reply waits, however large");
        drop(replies);
        assert_eq!((all.0.load(Relaxed), budget.used()), (0, 0));
    }
}
