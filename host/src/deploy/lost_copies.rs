//! The plugins whose latest version could not be copied to disk, so that a restart forgets it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a failed write is tried again, if there is no change in between.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The plugins whose latest version could not be copied to disk.
#[derive(Debug, Default)]
pub struct LostCopies {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The reason, by plugin.
    lost: BTreeMap<String, String>,
    tried: Option<Instant>,
}

impl LostCopies {
    /// Why there is no copy of a plugin's latest version; `None` if there is one.
    pub fn reason(&self, plugin: &str) -> Option<String> {
        self.lock().lost.get(plugin).cloned()
    }

    /// Returns true if there is a copy of every plugin.
    pub fn is_empty(&self) -> bool {
        self.lock().lost.is_empty()
    }

    /// Returns true if it is time to try again.
    pub fn is_retry_due(&self) -> bool {
        self.lock().tried.is_none_or(|tried| tried.elapsed() >= RETRY_INTERVAL)
    }

    /// Sets the result of an attempt. Changes since the last attempt are logged.
    pub fn set(&self, lost: BTreeMap<String, String>) {
        let mut state = self.lock();
        for (name, reason) in lost.iter().filter(|(name, _)| !state.lost.contains_key(*name)) {
            tracing::error!(plugin = name, "a restart forgets this version: {reason}");
        }
        for name in state.lost.keys().filter(|name| !lost.contains_key(*name)) {
            tracing::info!(plugin = name, "a restart remembers this version now");
        }
        *state = State { lost, tried: Some(Instant::now()) };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
