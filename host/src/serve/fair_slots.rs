//! Slots that pipelines share, so that a slow pipeline cannot take all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The slots that a pipeline may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of them, because there is no other pipeline.
    All,
    /// A fair share: at most three times the slots that are free. So one busy pipeline gets three quarters of the slots,
    /// two get three sevenths each, and some slots are always free for a pipeline that was idle.
    Fair,
    /// At most this many.
    Fixed(u32),
}

/// Slots that pipelines share.
pub struct FairSlots {
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// The pipelines that use slots or wait for them.
    users: BTreeMap<Arc<str>, User>,
    next: u64,
}

struct User {
    used: usize,
    share: Share,
    /// The requests that wait, oldest first, with their position in the queue of all.
    waiting: VecDeque<(u64, oneshot::Sender<Slot>)>,
}

/// A slot, which is released on drop.
pub struct Slot {
    /// `None` after the slot was released.
    taken: Option<(Arc<FairSlots>, Arc<str>)>,
}

impl FairSlots {
    /// Makes `total` slots.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: total.max(1), users: BTreeMap::new(), next: 0 }) })
    }

    /// Takes a slot, if `user` may take one now.
    pub fn try_take(self: &Arc<Self>, user: &str, share: Share) -> Option<Slot> {
        let mut state = self.lock();
        let name = state.user(user, share);
        let is_free = state.users.get(&name).is_some_and(|user| user.waiting.is_empty() && state.may_take(user));
        if is_free {
            state.take(&name);
            return Some(Slot { taken: Some((Arc::clone(self), name)) });
        }
        state.forget_idle(&name);
        None
    }

    /// Takes a slot as soon as `user` may take one. Free slots go to the pipeline that uses the fewest.
    pub async fn take(self: &Arc<Self>, user: &str, share: Share) -> Slot {
        loop {
            let granted = {
                if let Some(slot) = self.try_take(user, share) {
                    return slot;
                }
                let mut state = self.lock();
                let name = state.user(user, share);
                let (sender, granted) = oneshot::channel();
                let position = state.next;
                state.next += 1;
                if let Some(user) = state.users.get_mut(&name) {
                    user.waiting.push_back((position, sender));
                }
                // A slot may have become free since the first try.
                self.settle(&mut state);
                granted
            };
            if let Ok(slot) = granted.await {
                return slot;
            }
        }
    }

    /// The slots that are used, and the requests that wait, by user. Users without either are absent.
    pub fn counts(&self) -> BTreeMap<Arc<str>, (usize, usize)> {
        let is_waiting = |(_, sender): &&(u64, oneshot::Sender<Slot>)| !sender.is_closed();
        let state = self.lock();
        let users = state.users.iter();
        users
            .map(|(name, user)| (Arc::clone(name), (user.used, user.waiting.iter().filter(is_waiting).count())))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free slots to the requests that wait.
    fn settle(self: &Arc<Self>, state: &mut State) {
        loop {
            for user in state.users.values_mut() {
                while user.waiting.front().is_some_and(|(_, sender)| sender.is_closed()) {
                    user.waiting.pop_front();
                }
            }
            let next = state.users.iter().filter(|(_, user)| state.may_take(user)).filter_map(|(name, user)| {
                let (position, _) = user.waiting.front()?;
                Some(((user.used, *position), Arc::clone(name)))
            });
            let Some((_, name)) = next.min() else { return };
            let Some((_, sender)) = state.users.get_mut(&name).and_then(|user| user.waiting.pop_front()) else {
                return;
            };
            state.take(&name);
            if let Err(mut slot) = sender.send(Slot { taken: Some((Arc::clone(self), Arc::clone(&name))) }) {
                // Its drop would wait for the lock that this function holds.
                slot.taken = None;
                state.give_back(&name);
            }
        }
    }
}

impl State {
    /// The key of a user, which is created if needed.
    fn user(&mut self, name: &str, share: Share) -> Arc<str> {
        let known = self.users.get_key_value(name).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| name.into());
        let user = User { used: 0, share, waiting: VecDeque::new() };
        self.users.entry(Arc::clone(&name)).or_insert(user).share = share;
        name
    }

    fn may_take(&self, user: &User) -> bool {
        let is_fair = match user.share {
            Share::All => true,
            Share::Fixed(most) => user.used < most as usize,
            // The last free slot is for a pipeline that has none.
            Share::Fair => user.used == 0 || (user.used < 3 * self.free && self.free > 1),
        };
        self.free > 0 && is_fair
    }

    fn take(&mut self, name: &str) {
        self.free -= 1;
        if let Some(user) = self.users.get_mut(name) {
            user.used += 1;
        }
    }

    fn give_back(&mut self, name: &str) {
        self.free += 1;
        if let Some(user) = self.users.get_mut(name) {
            user.used -= 1;
        }
        self.forget_idle(name);
    }

    fn forget_idle(&mut self, name: &str) {
        if self.users.get(name).is_some_and(|user| user.used == 0 && user.waiting.is_empty()) {
            self.users.remove(name);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((slots, name)) = self.taken.take() {
            let mut state = slots.lock();
            state.give_back(&name);
            slots.settle(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn take_all(slots: &Arc<FairSlots>, user: &str) -> Vec<Slot> {
        std::iter::from_fn(|| slots.try_take(user, Share::Fair)).collect()
    }

    #[test]
    fn some_slots_are_always_free_for_an_idle_pipeline() {
        let slots = FairSlots::new(32);
        let first = take_all(&slots, "first");
        let second = take_all(&slots, "second");
        assert_eq!((first.len(), second.len()), (24, 6));
        assert!(slots.try_take("third", Share::Fair).is_some());
        drop((first, second));
        let (free, users) = {
            let state = slots.lock();
            (state.free, state.users.len())
        };
        assert_eq!((free, users), (32, 0));
        for (total, most) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
            assert_eq!(take_all(&FairSlots::new(total), "first").len(), most, "of {total}");
        }
        let fixed = std::iter::from_fn(|| slots.try_take("first", Share::Fixed(5)));
        assert_eq!(fixed.collect::<Vec<_>>().len(), 5);
        let all = std::iter::from_fn(|| slots.try_take("first", Share::All));
        assert_eq!(all.collect::<Vec<_>>().len(), 32);
    }

    #[tokio::test]
    async fn a_free_slot_goes_to_the_pipeline_that_uses_the_fewest() {
        let slots = FairSlots::new(2);
        let mut held = vec![slots.take("busy", Share::All).await, slots.take("busy", Share::All).await];
        let gone = tokio::time::timeout(std::time::Duration::from_millis(1), slots.take("busy", Share::All));
        assert!(gone.await.is_err(), "all slots are taken");
        let (busy, idle) = (slots.take("busy", Share::All), slots.take("idle", Share::All));
        tokio::pin!(busy, idle);
        assert!(busy.as_mut().now_or_never().is_none() && idle.as_mut().now_or_never().is_none());
        held.pop();
        assert!(busy.as_mut().now_or_never().is_none());
        let slot = idle.as_mut().now_or_never();
        assert!(slot.is_some());
        drop(slot);
        assert!(busy.as_mut().now_or_never().is_some());
        held.clear();
        assert_eq!(slots.lock().free, 2);
    }
}
