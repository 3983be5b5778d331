//! A budget of bytes. A reservation grows while its bytes arrive, so bytes that are only announced are not counted.
//!
//! Reservations that wait for each other could block each other, each with half of its bytes. So a part of the budget
//! is the *reserve*: only the oldest waiting reservation (the *elder*) may take from it, until it is complete. A complete
//! reservation waits for nothing and is released in time. So the elder always continues, and then the next one does. If
//! the reserve is too small for the elder, the youngest waiting reservation fails and releases its bytes. Bytes of the
//! reserve that the elder cannot need, because it holds enough for a body of the maximum size, are lent to the others.
//!
//! `ledger`: which reservation holds which bytes. `arrival`, `slow`: reservations whose bytes arrive slowly are ended while
//! others wait.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

mod arrival;
mod ledger;
mod slow;

pub use arrival::Arrival;
pub use ledger::BudgetError;
use ledger::Ledger;

/// How often it is looked at how fast bytes arrive, while a reservation waits.
const LOOK: Duration = Duration::from_secs(1);

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
    timer: Option<Timer>,
    /// How fast its bytes arrive; `None` if they come from this process.
    arrival: Option<Arc<Arrival>>,
}

/// The time of a wait, and the next look at the other reservations.
struct Timer {
    until: Instant,
    /// It was prolonged, because bytes were about to become free.
    is_prolonged: bool,
    next: Pin<Box<Sleep>>,
}

impl ByteBudget {
    /// A budget of `total` bytes, for reservations of usually at most `largest` bytes. They wait for bytes at most `wait`.
    pub fn new(total: u64, largest: u64, wait: Duration) -> Arc<Self> {
        let total = total.max(1);
        let ledger = Mutex::new(Ledger::new(total, largest));
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
        Reservation { budget: Arc::clone(self), age, bytes: 0, has_waited: false, timer: None, arrival: None }
    }

    /// How often a reservation that waits looks at the others.
    fn look(&self) -> Duration {
        LOOK.min(self.wait / 3)
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

    /// Follows how fast the bytes of this reservation arrive.
    pub fn follow(&mut self, arrival: &Arc<Arrival>) {
        self.arrival = Some(Arc::clone(arrival));
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
        let mut ledger = self.budget.lock();
        if !ledger.try_take(self.age, bytes - self.bytes) {
            return Err(BudgetError::Spent);
        }
        self.bytes = bytes;
        if let Some(arrival) = &self.arrival {
            ledger.follow(self.age, arrival);
        }
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
                if let Some(arrival) = &self.arrival {
                    ledger.follow(self.age, arrival);
                }
                return Poll::Ready(Ok(()));
            }
            self.has_waited = true;
            ledger.wait_for(self.age, more, context.waker());
        }
        let step = self.budget.look();
        ledger.look(Instant::now().into_std(), step);
        let ended = match ledger.ended(self.age, context.waker()) {
            Some(ended) => ended,
            None => {
                let timer = self.timer.get_or_insert_with(|| Timer::start(self.budget.wait, step));
                while !timer.is_over() || timer.prolong(step, &ledger) {
                    ready!(timer.next.as_mut().poll(context));
                    ledger.look(Instant::now().into_std(), step);
                    timer.set_next(step);
                }
                Err(BudgetError::Spent)
            }
        };
        self.timer = None;
        match ended {
            Ok(()) => {
                self.bytes = bytes;
                ledger.forget_wait(self.age);
                if let Some(arrival) = &self.arrival {
                    ledger.follow(self.age, arrival);
                }
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

impl Timer {
    fn start(wait: Duration, step: Duration) -> Self {
        let next = Box::pin(tokio::time::sleep(step.min(wait)));
        Self { until: Instant::now() + wait, is_prolonged: false, next }
    }

    /// Prolongs a wait that is over by `step`, once, if bytes are about to become free. Returns false if not.
    fn prolong(&mut self, step: Duration, ledger: &Ledger) -> bool {
        if self.is_prolonged || !ledger.frees_bytes {
            return false;
        }
        self.is_prolonged = true;
        self.until = Instant::now() + step;
        self.set_next(step);
        true
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn set_next(&mut self, step: Duration) {
        let next = (Instant::now() + step).min(self.until);
        self.next.as_mut().reset(next);
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
mod tests;
