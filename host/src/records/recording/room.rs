//! The room of recordings that wait for the disk: a number of them, and of their bytes. It is taken before anything is copied
//! for a recording.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of recordings that wait for the disk.
pub(super) const MAX_RECORDINGS: usize = 64;
/// Maximum bytes that wait for the disk. This limit is needed because the requests have ended, so these bytes no longer count
/// in the budget for bodies.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The recordings that wait. A clone shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Sums>>);

/// How many recordings wait, and how many bytes they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) recordings: usize,
    pub(super) bytes: u64,
}

/// The room of one recording. Dropping it frees the room.
#[derive(Debug)]
pub(in crate::records) struct Room {
    waiting: Waiting,
    bytes: u64,
}

impl Waiting {
    /// Takes the room of a recording; `None` if there is none. One that is larger than the limit finds room if no other waits.
    pub(super) fn take(&self, bytes: u64) -> Option<Room> {
        let mut sums = self.lock();
        let fits =
            sums.recordings < MAX_RECORDINGS && (sums.bytes == 0 || sums.bytes.saturating_add(bytes) <= MAX_BYTES);
        fits.then(|| {
            *sums = Sums { recordings: sums.recordings + 1, bytes: sums.bytes + bytes };
            Room { waiting: self.clone(), bytes }
        })
    }

    /// What waits now.
    #[cfg(test)]
    pub(super) fn sums(&self) -> Sums {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// The bytes of the recording.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut sums = self.waiting.lock();
        *sums = Sums { recordings: sums.recordings - 1, bytes: sums.bytes - self.bytes };
    }
}
