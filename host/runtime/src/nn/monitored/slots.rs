//! The sessions of a model that are free. A run that does not end keeps its slot, so that no more runs start than there are
//! sessions.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many slots as a model has concurrent runs.
pub(super) struct Slots {
    free: Mutex<usize>,
    returned: Condvar,
}

/// One slot. It is free again when this is dropped.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(count), returned: Condvar::new() })
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot, if one is free.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let mut free = self.free();
        *free = free.checked_sub(1)?;
        Some(Slot(Arc::clone(self)))
    }

    /// A slot. Waits for one, at most for the given time.
    pub(super) fn acquire(self: &Arc<Self>, within: Option<Duration>) -> Option<Slot> {
        let since = Instant::now();
        let mut free = self.free();
        while *free == 0 {
            free = match within {
                None => self.returned.wait(free).unwrap_or_else(PoisonError::into_inner),
                Some(within) => {
                    let left = within.checked_sub(since.elapsed()).filter(|left| !left.is_zero())?;
                    self.returned.wait_timeout(free, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *free -= 1;
        Some(Slot(Arc::clone(self)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_for_a_slot_that_another_one_holds() {
        let slots = Slots::new(1);
        let held = slots.try_acquire().expect("free");
        assert!(slots.try_acquire().is_none());
        assert!(slots.acquire(Some(Duration::from_millis(1))).is_none());
        let waiting = std::thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.acquire(None).is_some()
        });
        drop(held);
        assert!(waiting.join().expect("no panic"));
        assert!(slots.try_acquire().is_some(), "the other thread has dropped it");
    }
}
