//! Bounds the replies that wait for `server.reply_budget`, because they are in memory too.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::overloaded::Overloaded;

/// A reply that waits for its budget. At most as many bytes wait as the budget has.
pub(super) struct WaitingReply<'a> {
    all: &'a AtomicU64,
    bytes: u64,
}

impl<'a> WaitingReply<'a> {
    /// `all` counts the bytes that wait, and `most` is the budget.
    ///
    /// # Errors
    /// If too many bytes wait already.
    pub(super) fn new(all: &'a AtomicU64, bytes: u64, most: u64) -> Result<Self, Overloaded> {
        let this = Self { all, bytes };
        let before = all.fetch_add(bytes, Relaxed);
        if before > 0 && before.saturating_add(bytes) > most { Err(Overloaded::replies()) } else { Ok(this) }
    }
}

impl Drop for WaitingReply<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}
