//! The figures of one side of a canary: the requests of the old or the new version since the canary began.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::canary_counts::{CanaryCounts, Ending};

/// One side of a canary: the old or the new version.
pub struct CanarySide {
    plugin: Arc<str>,
    counts: Mutex<CanaryCounts>,
    /// Set after each request of the new version.
    signal: Arc<CanarySignal>,
    is_new: bool,
}

/// Wakes the task that decides canaries. Signals that arrive before the task wakes are merged into one.
#[derive(Default)]
pub struct CanarySignal {
    notify: Notify,
    is_set: AtomicBool,
}

impl CanarySignal {
    /// Wakes the task.
    pub fn set(&self) {
        if !self.is_set.swap(true, Relaxed) {
            self.notify.notify_one();
        }
    }

    /// Waits until a canary has new figures, then clears the signal.
    pub async fn wait(&self) {
        self.notify.notified().await;
        self.is_set.store(false, Relaxed);
    }
}

impl CanarySide {
    /// Creates the side of the new (`is_new`) or the old version of `plugin`.
    pub fn new(plugin: &Arc<str>, is_new: bool, signal: &Arc<CanarySignal>) -> Self {
        Self { plugin: Arc::clone(plugin), counts: Mutex::default(), signal: Arc::clone(signal), is_new }
    }

    /// Returns true if `plugin` is the plugin of the canary.
    pub(super) fn is_of(&self, plugin: &str) -> bool {
        plugin == &*self.plugin
    }

    /// Counts a request that has ended. `highest` is the highest mark of the plugin in it.
    pub(super) fn record_request(&self, highest: u64, ending: Ending) {
        self.lock().record(highest, ending);
        self.changed();
    }

    /// Counts a request that its caller gave up while the plugin ran.
    pub(super) fn record_given_up(&self) {
        self.lock().record_given_up();
        self.changed();
    }

    fn changed(&self) {
        if self.is_new {
            self.signal.set();
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> CanaryCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, CanaryCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
