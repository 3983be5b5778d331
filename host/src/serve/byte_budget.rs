//! A budget of bytes. A reservation grows while its bytes arrive, so what is only announced takes nothing.
//!
//! Reservations that wait for each other could block each other, each with half of its bytes. So a part of the budget
//! is the *reserve*: only the oldest waiting reservation (the *elder*) may take from it, until it is complete. A complete
//! reservation waits for nothing and is released in time. So the elder always continues, and then the next one does. If
//! the reserve is too small for the elder, the youngest waiting reservation fails and releases its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// A first step of at most this many bytes does not queue behind larger ones.
const SMALL: u64 = 64 << 10;

/// A budget of bytes.
pub struct ByteBudget {
    state: Mutex<State>,
    next_age: AtomicU64,
    /// How long a reservation waits for bytes.
    wait: Duration,
    total: u64,
    reserve: u64,
}

struct State {
    /// Free bytes for every reservation.
    free: u64,
    /// Free bytes of the reserve.
    free_reserve: u64,
    /// The reservations that hold bytes or wait, by age; the oldest has the smallest number.
    claims: BTreeMap<u64, Claim>,
    waiting: BTreeSet<u64>,
    elder: Option<u64>,
}

#[derive(Default)]
struct Claim {
    bytes: u64,
    /// Bytes from the reserve; they are not part of `bytes`.
    reserve: u64,
    wait: Option<Wait>,
}

/// A reservation that waits, or whose wait has just ended.
struct Wait {
    more: u64,
    waker: Waker,
    ended: Option<Result<(), BudgetError>>,
}

/// A reservation that could not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetError {
    /// The budget is spent, and no bytes became free in time.
    Spent,
    /// The reservation would be larger than the whole budget.
    TooLarge,
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
        let state = State {
            free: total - reserve,
            free_reserve: reserve,
            claims: BTreeMap::new(),
            waiting: BTreeSet::new(),
            elder: None,
        };
        Arc::new(Self { state: Mutex::new(state), next_age: AtomicU64::new(0), wait, total, reserve })
    }

    /// The size of the budget in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// An empty reservation. It is younger than all others.
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        let age = self.next_age.fetch_add(1, Relaxed);
        Reservation { budget: Arc::clone(self), age, bytes: 0, has_waited: false, timer: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes bytes if they are free and no older reservation waits for them.
    fn try_take(&mut self, age: u64, more: u64) -> bool {
        let is_first_step = more <= SMALL && !self.claims.contains_key(&age);
        if more > self.free || !(self.waiting.is_empty() || is_first_step) {
            return false;
        }
        self.free -= more;
        self.claims.entry(age).or_default().bytes += more;
        true
    }

    /// Gives free bytes to the reservations that wait.
    fn settle(&mut self, reserve: u64) {
        if self.elder.is_none() {
            self.elder = self.waiting.first().copied();
        }
        if let Some(elder) = self.elder.filter(|elder| self.waiting.contains(elder))
            && let Some(claim) = self.claims.get_mut(&elder)
        {
            let more = claim.wait.as_ref().map_or(0, |wait| wait.more);
            if more <= self.free + self.free_reserve {
                let from_free = more.min(self.free);
                self.free -= from_free;
                self.free_reserve -= more - from_free;
                claim.bytes += from_free;
                claim.reserve += more - from_free;
                self.end_wait(elder, Ok(()));
            } else if self.free_reserve + self.waiting_in_reserve() == reserve {
                // Every part of the reserve that is taken belongs to a reservation that waits, so none will be given back.
                let youngest = self.waiting.iter().rev().find(|age| **age != elder && self.holds(**age)).copied();
                if let Some(youngest) = youngest {
                    self.end_wait(youngest, Err(BudgetError::Spent));
                }
            }
        }
        while let Some(oldest) = self.waiting.iter().find(|age| Some(**age) != self.elder).copied() {
            let Some(claim) = self.claims.get_mut(&oldest) else { break };
            let more = claim.wait.as_ref().map_or(0, |wait| wait.more);
            if more > self.free {
                break;
            }
            self.free -= more;
            claim.bytes += more;
            self.end_wait(oldest, Ok(()));
        }
    }

    /// Removes a reservation from those that wait. It keeps its bytes.
    fn give_up(&mut self, age: u64, reserve: u64) {
        self.waiting.remove(&age);
        if let Some(claim) = self.claims.get_mut(&age) {
            claim.wait = None;
            if claim.bytes + claim.reserve == 0 {
                self.claims.remove(&age);
            }
        }
        if self.elder == Some(age) {
            self.elder = None;
        }
        self.settle(reserve);
    }

    /// The bytes of the reserve that waiting reservations hold.
    fn waiting_in_reserve(&self) -> u64 {
        self.waiting.iter().filter_map(|age| self.claims.get(age)).map(|claim| claim.reserve).sum()
    }

    fn holds(&self, age: u64) -> bool {
        self.claims.get(&age).is_some_and(|claim| claim.bytes > 0)
    }

    fn end_wait(&mut self, age: u64, ended: Result<(), BudgetError>) {
        self.waiting.remove(&age);
        if let Some(wait) = self.claims.get_mut(&age).and_then(|claim| claim.wait.as_mut()) {
            wait.ended = Some(ended);
            wait.waker.wake_by_ref();
        }
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
    /// If the bytes are not free, or the whole budget is smaller.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), BudgetError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        if bytes > self.budget.total {
            return Err(BudgetError::TooLarge);
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
        let mut state = self.budget.lock();
        if self.timer.is_none() {
            if state.try_take(self.age, more) {
                self.bytes = bytes;
                return Poll::Ready(Ok(()));
            }
            self.has_waited = true;
            let wait = Wait { more, waker: context.waker().clone(), ended: None };
            state.claims.entry(self.age).or_default().wait = Some(wait);
            state.waiting.insert(self.age);
            state.settle(self.budget.reserve);
        }
        let wait = state.claims.get_mut(&self.age).and_then(|claim| claim.wait.as_mut());
        let ended = wait.and_then(|wait| {
            wait.waker.clone_from(context.waker());
            wait.ended
        });
        let ended = match ended {
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
                if let Some(claim) = state.claims.get_mut(&self.age) {
                    claim.wait = None;
                }
            }
            Err(_) => state.give_up(self.age, self.budget.reserve),
        }
        Poll::Ready(ended)
    }

    /// Declares that all bytes have arrived. If it was the elder, another reservation may use the reserve now.
    pub fn complete(&mut self) {
        // The elder has waited.
        if !self.has_waited {
            return;
        }
        let mut state = self.budget.lock();
        if state.elder == Some(self.age) {
            state.elder = None;
            state.settle(self.budget.reserve);
        }
    }

    /// Releases the bytes above `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            return;
        }
        let less = self.bytes - bytes;
        self.bytes = bytes;
        let mut state = self.budget.lock();
        let Some(claim) = state.claims.get_mut(&self.age) else { return };
        let from_reserve = less.min(claim.reserve);
        claim.reserve -= from_reserve;
        claim.bytes = claim.bytes.saturating_sub(less - from_reserve);
        state.free_reserve += from_reserve;
        state.free += less - from_reserve;
        state.settle(self.budget.reserve);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // A reservation that has never grown has no claim.
        if self.bytes == 0 && self.timer.is_none() {
            return;
        }
        let mut state = self.budget.lock();
        if let Some(claim) = state.claims.remove(&self.age) {
            state.free += claim.bytes;
            state.free_reserve += claim.reserve;
        }
        state.give_up(self.age, self.budget.reserve);
    }
}

#[cfg(test)]
mod tests {
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
        // The part for all is spent. The first to wait is the elder and gets all it needs.
        assert_eq!(now(&mut second, 150), Some(Ok(())));
        assert_eq!(now(&mut first, 150), None);
        second.complete();
        assert_eq!(now(&mut first, 150), Some(Ok(())), "75 bytes of the reserve are free");
        drop((first, second));
        let state = budget.lock();
        assert_eq!((state.free, state.free_reserve, state.claims.len(), state.elder), (150, 150, 0, None));
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
    async fn a_wait_ends_in_time_and_a_small_first_step_passes() {
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
        let state = budget.lock();
        assert_eq!((state.free, state.claims.len(), state.waiting.len()), (1_000_000, 0, 0));
    }
}
