//! The images of one request that are listed among the latest requests. A request with hundreds of images would otherwise
//! replace all others in the list.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use plimsoll_runtime::outcome::Outcome;

/// The most images of a request that are listed beside its first one: of those that succeeded, and of those that failed.
const MOST: usize = 7;

/// Counts the images of one request that are listed.
#[derive(Debug, Default)]
pub(super) struct ListedImages {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
}

impl ListedImages {
    /// Counts an image that has ended. Returns true if it is listed.
    pub(super) fn add(&self, outcome: Outcome) -> bool {
        let count = if outcome == Outcome::Ok { &self.succeeded } else { &self.failed };
        count.fetch_add(1, Relaxed) < MOST
    }
}
