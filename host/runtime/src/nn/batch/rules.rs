//! The limits of a model's batches.

use std::time::Duration;

/// The limits of a model's batches: `max_batch` and `max_delay` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// Maximum rows of one batch.
    pub max_batch: u32,
    /// How long a batch waits for more rows: counted from its first run, and again from the moment when the backend could
    /// compute it.
    pub max_delay: Duration,
}

/// The permits that are held while a batch runs.
pub type HeldPermits = Box<dyn Send>;
