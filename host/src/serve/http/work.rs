//! How much CPU time the decompression of a body may take. A body can be made so that it is much work: blocks of deflate
//! without contents have a few bytes each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_runtime::scheduling::cpu_time::thread_cpu_time;

/// The CPU time in which every body must be decompressed.
const LEAST_TIME: Duration = Duration::from_secs(2);
/// A larger body may take a second more for each of these bytes, compressed and decompressed together. That is a small part
/// of the rate at which usual data is decompressed.
const LEAST_RATE: u64 = 8 << 20;

/// The CPU time of a decompression, whichever threads it runs on. Others that use the cores do not count.
#[derive(Default)]
pub(super) struct Work {
    /// Nanoseconds of the steps before.
    before: AtomicU64,
    /// The CPU time of the thread when the present step began, in nanoseconds.
    began: AtomicU64,
    /// How many nanoseconds the work may take.
    most: AtomicU64,
}

impl Work {
    /// A step begins on this thread. `bytes` are those of the whole compressed body, and those that were decompressed.
    pub(super) fn begin(&self, bytes: u64) {
        let most = LEAST_TIME + Duration::from_millis(bytes / (LEAST_RATE / 1_000));
        self.most.store(most.as_nanos() as u64, Relaxed);
        self.began.store(cpu_time(), Relaxed);
    }

    /// The step ends, on the thread on which it began.
    pub(super) fn end(&self) {
        self.before.fetch_add(cpu_time().saturating_sub(self.began.load(Relaxed)), Relaxed);
    }

    /// Returns true if the steps took too long so far.
    pub(super) fn is_too_much(&self) -> bool {
        let used = self.before.load(Relaxed) + cpu_time().saturating_sub(self.began.load(Relaxed));
        used > self.most.load(Relaxed)
    }
}

#[cfg(test)]
impl Work {
    /// As if the steps before had taken so long.
    pub(super) fn spend(&self, time: Duration) {
        self.before.fetch_add(time.as_nanos() as u64, Relaxed);
    }
}

fn cpu_time() -> u64 {
    thread_cpu_time().as_nanos() as u64
}
