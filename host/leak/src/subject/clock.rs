//! The deadline of the current call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The deadline of the current call. Clones share it.
#[derive(Clone)]
pub(super) struct Clock {
    created: Instant,
    /// In milliseconds after `created`.
    end: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { created: Instant::now(), end: Arc::default() }
    }
}

impl Clock {
    /// Sets the deadline to `time` from now.
    pub(super) fn allow(&self, time: Duration) {
        self.end.store((self.created.elapsed() + time).as_millis() as u64, Relaxed);
    }

    pub(super) fn has_passed(&self) -> bool {
        self.created.elapsed().as_millis() as u64 >= self.end.load(Relaxed)
    }
}
