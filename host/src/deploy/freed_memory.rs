//! When memory that changes freed is returned to the operating system: after each change, but in a batch of changes only now
//! and then, because each time takes as long as a small deployment.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::allocator;

/// In a batch of changes, after how many of them it is returned.
const EVERY: u32 = 16;

/// The changes of the present batch; `None` outside of one.
#[derive(Debug, Default)]
pub(super) struct FreedMemory(Mutex<Option<u32>>);

impl FreedMemory {
    /// Notes a change that freed memory, and returns the memory if it is time.
    pub(super) fn note(&self) {
        let is_due = self.lock().as_mut().is_none_or(|changes| {
            *changes += 1;
            changes.is_multiple_of(EVERY)
        });
        if is_due {
            allocator::trim();
        }
    }

    /// Makes a batch of changes in `work`.
    pub(super) fn batch<R>(&self, work: impl FnOnce() -> R) -> R {
        let _end = End(self);
        *self.lock() = Some(0);
        work()
    }

    fn lock(&self) -> MutexGuard<'_, Option<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a batch when it is dropped, also after a panic.
struct End<'a>(&'a FreedMemory);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
        allocator::trim();
    }
}
