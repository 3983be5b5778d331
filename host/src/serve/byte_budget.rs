//! A budget of bytes. A reservation grows while its bytes arrive, so bytes that are only announced are not counted.
//!
//! Reservations that wait for each other could block each other, each with half of its bytes. So a part of the budget
//! is the *reserve*: only the oldest waiting reservation (the *elder*) may take from it, until it is complete. A complete
//! reservation waits for nothing and is released in time. So the elder always continues, and then the next one does. If
//! the reserve is too small for the elder, the youngest waiting reservation fails and releases its bytes.
//!
//! `ledger`: which reservation holds which bytes.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

mod ledger;

pub use ledger::BudgetError;
use ledger::Ledger;

/// A budget of bytes.
pub struct ByteBudget {
    ledger: Mutex<Ledger>,
    next_age: AtomicU64,
    /// How long a reservation waits for bytes.
    wait: Duration,
    total: u64,
}

/// Bytes of a budget, which are released on drop.
pub struct Reservation {
    budget: Arc<ByteBudget>,
    age: u64,
    bytes: u64,
    has_waited: bool,
    /// Ends a wait. `None` if the reservation does not wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ByteBudget {
    /// A budget of `total` bytes, for reservations of usually at most `largest` bytes. They wait for bytes at most `wait`.
    pub fn new(total: u64, largest: u64, wait: Duration) -> Arc<Self> {
        let total = total.max(1);
        let reserve = largest.min(total / 2);
        let ledger = Mutex::new(Ledger::new(total, reserve));
        Arc::new(Self { ledger, next_age: AtomicU64::new(0), wait, total })
    }

    /// The size of the budget in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The bytes that reservations hold.
    pub fn used(&self) -> u64 {
        self.total - self.lock().free()
    }

    /// Returns true if a reservation waits for bytes.
    pub(super) fn has_waiting(&self) -> bool {
        self.lock().has_waiting()
    }

    /// An empty reservation. It is younger than all others.
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        let age = self.next_age.fetch_add(1, Relaxed);
        Reservation { budget: Arc::clone(self), age, bytes: 0, has_waited: false, timer: None }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The reserved bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows to `bytes`, if it is smaller. Waits for a short time if the budget is spent.
    ///
    /// # Errors
    /// If no bytes become free in time, or the whole budget is smaller.
    pub async fn grow(&mut self, bytes: u64) -> Result<(), BudgetError> {
        std::future::poll_fn(|context| self.poll_grow(context, bytes)).await
    }

    /// As [`Reservation::grow`], but fails at once if the bytes are not free.
    ///
    /// # Errors
    /// If the bytes are not free, the reservation waits for bytes, or the whole budget is smaller.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), BudgetError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        if bytes > self.budget.total {
            return Err(BudgetError::TooLarge);
        }
        // The wait may have ended already, with bytes that `poll_grow` counts. They must not be taken twice.
        if self.timer.is_some() {
            return Err(BudgetError::Spent);
        }
        if !self.budget.lock().try_take(self.age, bytes - self.bytes) {
            return Err(BudgetError::Spent);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// As [`Reservation::grow`]. After `Pending`, call it again with the same number.
    pub fn poll_grow(&mut self, context: &mut Context<'_>, bytes: u64) -> Poll<Result<(), BudgetError>> {
        if bytes <= self.bytes {
            return Poll::Ready(Ok(()));
        }
        if bytes > self.budget.total {
            return Poll::Ready(Err(BudgetError::TooLarge));
        }
        let more = bytes - self.bytes;
        let mut ledger = self.budget.lock();
        if self.timer.is_none() {
            if ledger.try_take(self.age, more) {
                self.bytes = bytes;
                return Poll::Ready(Ok(()));
            }
            self.has_waited = true;
            ledger.wait_for(self.age, more, context.waker());
        }
        let ended = match ledger.ended(self.age, context.waker()) {
            Some(ended) => ended,
            None => {
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.budget.wait)));
                ready!(timer.as_mut().poll(context));
                Err(BudgetError::Spent)
            }
        };
        self.timer = None;
        match ended {
            Ok(()) => {
                self.bytes = bytes;
                ledger.forget_wait(self.age);
            }
            Err(_) => ledger.give_up(self.age),
        }
        Poll::Ready(ended)
    }

    /// Declares that all bytes have arrived. If it was the elder, another reservation may use the reserve now.
    pub fn complete(&mut self) {
        // The elder has waited.
        if !self.has_waited {
            return;
        }
        self.budget.lock().complete(self.age);
    }

    /// Releases the bytes above `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            return;
        }
        let less = self.bytes - bytes;
        self.bytes = bytes;
        self.budget.lock().give_back(self.age, less);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // A reservation that has never grown has no claim.
        if self.bytes == 0 && !self.has_waited {
            return;
        }
        self.budget.lock().remove(self.age);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn now(reservation: &mut Reservation, bytes: u64) -> Option<Result<(), BudgetError>> {
        match reservation.poll_grow(&mut Context::from_waker(Waker::noop()), bytes) {
            Poll::Ready(grown) => Some(grown),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn two_half_read_bodies_do_not_block_each_other() {
        let budget = ByteBudget::new(300, 150, WAIT);
        let (mut first, mut second) = (budget.reserve(), budget.reserve());
        assert_eq!(now(&mut first, 75), Some(Ok(())));
        assert_eq!(now(&mut second, 75), Some(Ok(())));
        // The part for all is spent. The first reservation that waits is the elder and gets all it needs.
        assert_eq!(now(&mut second, 150), Some(Ok(())));
        assert_eq!(now(&mut first, 150), None);
        second.complete();
        assert_eq!(now(&mut first, 150), Some(Ok(())), "75 bytes of the reserve are free");
        drop((first, second));
        assert_eq!(budget.lock().unused(), Some((150, 150)));
    }

    #[tokio::test]
    async fn the_youngest_fails_if_the_reserve_is_too_small_for_the_elder() {
        let budget = ByteBudget::new(100, 100, WAIT);
        let (mut first, mut second) = (budget.reserve(), budget.reserve());
        assert_eq!(now(&mut first, 30), Some(Ok(())));
        assert_eq!(now(&mut second, 20), Some(Ok(())));
        assert_eq!(now(&mut first, 60), Some(Ok(())), "from the reserve");
        assert_eq!(now(&mut second, 50), None);
        assert_eq!(now(&mut first, 100), None);
        assert_eq!(now(&mut second, 50), Some(Err(BudgetError::Spent)));
        drop(second);
        assert_eq!(now(&mut first, 100), Some(Ok(())));
        assert_eq!(now(&mut first, 101), Some(Err(BudgetError::TooLarge)));
    }

    #[tokio::test]
    async fn a_reservation_that_waits_takes_no_bytes_beside_its_wait() {
        let budget = ByteBudget::new(100, 0, WAIT);
        let (mut first, mut waits) = (budget.reserve(), budget.reserve());
        assert_eq!(now(&mut first, 90), Some(Ok(())));
        assert_eq!(now(&mut waits, 20), None);
        drop(first);
        assert_eq!(waits.try_grow(20), Err(BudgetError::Spent), "the bytes are granted, but not yet counted");
        assert_eq!(now(&mut waits, 20), Some(Ok(())));
        assert_eq!(waits.try_grow(30), Ok(()));
        waits.shrink(0);
        assert_eq!(now(&mut waits, 5), Some(Ok(())));
        waits.shrink(0);
        drop(waits);
        assert_eq!(budget.lock().unused(), Some((100, 0)));
    }

    #[tokio::test]
    async fn a_wait_ends_in_time_and_a_small_first_growth_does_not_wait() {
        let budget = ByteBudget::new(1_000_000, 0, WAIT);
        let mut large = budget.reserve();
        assert_eq!(now(&mut large, 990_000), Some(Ok(())));
        let mut waits = budget.reserve();
        let mut small = budget.reserve();
        assert_eq!(now(&mut waits, 20_000), None);
        assert_eq!(now(&mut small, 10_000), Some(Ok(())));
        assert_eq!(waits.grow(20_000).await, Err(BudgetError::Spent));
        large.shrink(100);
        assert_eq!(now(&mut waits, 20_000), Some(Ok(())));
        drop(waits);
        // A reservation that is dropped while it waits leaves nothing behind.
        let mut gone = budget.reserve();
        assert_eq!(now(&mut gone, 999_000), None);
        drop((gone, small, large));
        assert_eq!(budget.lock().unused(), Some((1_000_000, 0)));
    }
}
