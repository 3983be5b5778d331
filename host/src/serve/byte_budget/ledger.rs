//! Which reservation holds which bytes of a budget, and which ones wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::arrival::{Arrival, Followed};

/// The first growth of a reservation by at most this many bytes does not wait behind larger ones. Reservations of at most
/// this many bytes are ended only if all larger ones that are slow do not suffice.
pub(super) const SMALL: u64 = 64 << 10;

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
    /// The bytes that a reservation usually needs at most.
    largest: u64,
    /// Free bytes for every reservation.
    pub(super) free: u64,
    /// Free bytes of the reserve.
    pub(super) free_reserve: u64,
    /// The reservations that hold bytes or wait, by age; the oldest has the smallest number.
    pub(super) claims: BTreeMap<u64, Claim>,
    pub(super) waiting: BTreeSet<u64>,
    /// Those of them that wait for a small first growth.
    small: BTreeSet<u64>,
    pub(super) elder: Option<u64>,
    /// When it was last looked at how fast bytes arrive.
    pub(super) looked: Option<Instant>,
    /// At that look, reservations were ended whose bytes were not free yet.
    pub(super) frees_bytes: bool,
}

#[derive(Default)]
pub(super) struct Claim {
    pub(super) bytes: u64,
    /// Bytes from the reserve; they are not part of `bytes`.
    pub(super) reserve: u64,
    pub(super) wait: Option<Wait>,
    /// How fast its bytes arrive; `None` if they come from this process.
    pub(super) followed: Option<Followed>,
}

/// A reservation that waits, or whose wait has just ended.
pub(super) struct Wait {
    pub(super) more: u64,
    waker: Waker,
    pub(super) ended: Option<Result<(), BudgetError>>,
}

impl Ledger {
    /// `total` bytes, for reservations of usually at most `largest` bytes.
    pub(super) fn new(total: u64, largest: u64) -> Self {
        let reserve = largest.min(total / 2);
        Self {
            reserve,
            largest,
            free: total - reserve,
            free_reserve: reserve,
            claims: BTreeMap::new(),
            waiting: BTreeSet::new(),
            small: BTreeSet::new(),
            elder: None,
            looked: None,
            frees_bytes: false,
        }
    }

    /// Follows how fast the bytes of a reservation arrive.
    pub(super) fn follow(&mut self, age: u64, arrival: &Arc<Arrival>) {
        if let Some(claim) = self.claims.get_mut(&age) {
            claim.followed.get_or_insert_with(|| Followed::new(arrival));
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
        if more <= SMALL && claim.bytes + claim.reserve == 0 {
            self.small.insert(age);
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
        // A reservation without bytes is not removed again when it is dropped.
        if claim.bytes + claim.reserve == 0 && claim.wait.is_none() {
            self.claims.remove(&age);
        }
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
        let others =
            |waiting: &BTreeSet<u64>, elder: Option<u64>| waiting.iter().find(|age| Some(**age) != elder).copied();
        // Small ones that arrive now do not wait behind larger ones, so those that wait come first.
        while others(&self.small, self.elder).is_some_and(|oldest| self.give(oldest)) {}
        // Without a reserve, the elder would wait for as long as smaller ones come.
        let is_elder_first = self.reserve == 0 && self.elder.is_some_and(|elder| self.waiting.contains(&elder));
        while !is_elder_first && others(&self.waiting, self.elder).is_some_and(|oldest| self.give(oldest)) {}
    }

    /// Gives a reservation that waits, and is not the elder, the bytes that it waits for. Returns false if they are not free.
    fn give(&mut self, age: u64) -> bool {
        let lent = self.free_to_lend();
        let Some(claim) = self.claims.get_mut(&age) else { return false };
        let more = claim.wait.as_ref().map_or(0, |wait| wait.more);
        if more > self.free + lent {
            return false;
        }
        let from_free = more.min(self.free);
        self.free -= from_free;
        self.free_reserve -= more - from_free;
        claim.bytes += from_free;
        claim.reserve += more - from_free;
        self.end_wait(age, Ok(()));
        true
    }

    /// The free bytes of the reserve that the elder does not need. Without an elder it is not known how many the next one
    /// needs.
    fn free_to_lend(&self) -> u64 {
        let elder = self.elder.and_then(|elder| self.claims.get(&elder));
        let needed = elder.map(|claim| self.largest.saturating_sub(claim.bytes + claim.reserve));
        needed.map_or(0, |needed| self.free_reserve.saturating_sub(needed))
    }

    /// Removes a reservation from those that wait. The reservation keeps its bytes.
    pub(super) fn give_up(&mut self, age: u64) {
        self.waiting.remove(&age);
        self.small.remove(&age);
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
        self.small.remove(&age);
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
