//! Which reservation holds which bytes of a budget, and which ones wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::arrival::{Arrival, Followed};

/// The first growth of a reservation by at most this many bytes does not wait behind larger ones.
const SMALL: u64 = 64 << 10;

/// A reservation that could not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetError {
    /// The budget is spent, and no bytes became free in time.
    Spent,
    /// The reservation would be larger than the whole budget.
    TooLarge,
}

/// The bytes of a budget: those that are free, and those of each reservation. A reservation is identified by its age.
pub(super) struct Ledger {
    /// The size of the reserve.
    reserve: u64,
    /// Free bytes for every reservation.
    free: u64,
    /// Free bytes of the reserve.
    free_reserve: u64,
    /// The reservations that hold bytes or wait, by age; the oldest has the smallest number.
    claims: BTreeMap<u64, Claim>,
    waiting: BTreeSet<u64>,
    elder: Option<u64>,
    /// When it was last looked at how fast bytes arrive.
    looked: Option<Instant>,
}

#[derive(Default)]
struct Claim {
    bytes: u64,
    /// Bytes from the reserve; they are not part of `bytes`.
    reserve: u64,
    wait: Option<Wait>,
    /// How fast its bytes arrive; `None` if it is small, or its bytes come from this process.
    followed: Option<Followed>,
}

/// A reservation that waits, or whose wait has just ended.
struct Wait {
    more: u64,
    waker: Waker,
    ended: Option<Result<(), BudgetError>>,
}

impl Ledger {
    /// `total` bytes, `reserve` of which are the reserve.
    pub(super) fn new(total: u64, reserve: u64) -> Self {
        Self {
            reserve,
            free: total - reserve,
            free_reserve: reserve,
            claims: BTreeMap::new(),
            waiting: BTreeSet::new(),
            elder: None,
            looked: None,
        }
    }

    /// Follows how fast the bytes of a reservation arrive.
    pub(super) fn follow(&mut self, age: u64, arrival: &Arc<Arrival>) {
        if let Some(claim) = self.claims.get_mut(&age) {
            claim.followed.get_or_insert_with(|| Followed::new(arrival));
        }
    }

    /// Looks at how fast bytes arrive, if reservations wait and the last look was at least `step` ago. Ends the slowest
    /// reservations, as many as the waiting ones need.
    pub(super) fn look(&mut self, now: Instant, step: Duration) {
        let since = self.looked.map(|looked| now.duration_since(looked));
        if self.waiting.is_empty() || since.is_some_and(|since| since < step) {
            return;
        }
        // An older look says nothing about the rate now.
        if let Some(since) = since.filter(|since| *since < 3 * step) {
            self.end_slow(since);
        }
        self.looked = Some(now);
        for (age, claim) in &mut self.claims {
            if let Some(followed) = &mut claim.followed {
                followed.look(self.waiting.contains(age));
            }
        }
    }

    fn end_slow(&mut self, since: Duration) {
        let waiting = self.waiting.iter().filter_map(|age| self.claims.get(age)?.wait.as_ref());
        let wanted: u64 = waiting.map(|wait| wait.more).sum();
        let mut missing = wanted.saturating_sub(self.free);
        let mut slow = Vec::new();
        for (age, claim) in &self.claims {
            let held = claim.bytes + claim.reserve;
            match &claim.followed {
                Some(followed) if followed.is_ended() => missing = missing.saturating_sub(held),
                Some(followed) if !self.waiting.contains(age) => {
                    slow.extend(followed.slowness(held, since).map(|slowness| (slowness, *age, held)));
                }
                _ => {}
            }
        }
        slow.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, age, held) in slow {
            if missing == 0 {
                return;
            }
            missing = missing.saturating_sub(held);
            if let Some(followed) = self.claims.get_mut(&age).and_then(|claim| claim.followed.as_mut()) {
                followed.end();
            }
        }
    }

    /// Takes bytes if they are free and no older reservation waits for them.
    pub(super) fn try_take(&mut self, age: u64, more: u64) -> bool {
        let is_first_step = more <= SMALL && !self.claims.contains_key(&age);
        if more > self.free || !(self.waiting.is_empty() || is_first_step) {
            return false;
        }
        self.free -= more;
        self.claims.entry(age).or_default().bytes += more;
        true
    }

    /// The free bytes, with those of the reserve.
    pub(super) fn free(&self) -> u64 {
        self.free + self.free_reserve
    }

    /// Returns true if a reservation waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lets a reservation wait for more bytes.
    pub(super) fn wait_for(&mut self, age: u64, more: u64, waker: &Waker) {
        let wait = Wait { more, waker: waker.clone(), ended: None };
        let claim = self.claims.entry(age).or_default();
        claim.wait = Some(wait);
        if let Some(followed) = &mut claim.followed {
            followed.waits();
        }
        self.waiting.insert(age);
        self.settle();
    }

    /// How the wait of a reservation has ended. `None` if it waits; `waker` is woken when it ends.
    pub(super) fn ended(&mut self, age: u64, waker: &Waker) -> Option<Result<(), BudgetError>> {
        let wait = self.claims.get_mut(&age).and_then(|claim| claim.wait.as_mut())?;
        wait.waker.clone_from(waker);
        wait.ended
    }

    /// Forgets a wait that has ended.
    pub(super) fn forget_wait(&mut self, age: u64) {
        if let Some(claim) = self.claims.get_mut(&age) {
            claim.wait = None;
        }
    }

    /// Marks a reservation as complete. If it was the elder, another one may become the elder.
    pub(super) fn complete(&mut self, age: u64) {
        if self.elder == Some(age) {
            self.elder = None;
            self.settle();
        }
    }

    /// Releases some bytes of a reservation.
    pub(super) fn give_back(&mut self, age: u64, less: u64) {
        let Some(claim) = self.claims.get_mut(&age) else { return };
        let from_reserve = less.min(claim.reserve);
        claim.reserve -= from_reserve;
        claim.bytes = claim.bytes.saturating_sub(less - from_reserve);
        self.free_reserve += from_reserve;
        self.free += less - from_reserve;
        self.settle();
    }

    /// Releases all bytes of a reservation.
    pub(super) fn remove(&mut self, age: u64) {
        if let Some(claim) = self.claims.remove(&age) {
            self.free += claim.bytes;
            self.free_reserve += claim.reserve;
        }
        self.give_up(age);
    }

    /// Gives free bytes to the reservations that wait.
    fn settle(&mut self) {
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
            } else if self.free_reserve + self.waiting_in_reserve() == self.reserve {
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

    /// Removes a reservation from those that wait. The reservation keeps its bytes.
    pub(super) fn give_up(&mut self, age: u64) {
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
        self.settle();
    }

    /// The bytes of the reserve that waiting reservations hold.
    fn waiting_in_reserve(&self) -> u64 {
        self.waiting.iter().filter_map(|age| self.claims.get(age)).map(|claim| claim.reserve).sum()
    }

    fn holds(&self, age: u64) -> bool {
        self.claims.get(&age).is_some_and(|claim| claim.bytes + claim.reserve > 0)
    }

    fn end_wait(&mut self, age: u64, ended: Result<(), BudgetError>) {
        self.waiting.remove(&age);
        if let Some(wait) = self.claims.get_mut(&age).and_then(|claim| claim.wait.as_mut()) {
            wait.ended = Some(ended);
            wait.waker.wake_by_ref();
        }
    }

    /// The free bytes, and the free bytes of the reserve. `None` if a reservation still exists or waits.
    #[cfg(test)]
    pub(super) fn unused(&self) -> Option<(u64, u64)> {
        let is_unused = self.claims.is_empty() && self.waiting.is_empty() && self.elder.is_none();
        is_unused.then_some((self.free, self.free_reserve))
    }
}
