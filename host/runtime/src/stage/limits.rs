//! The limits of a stage: its cap, its times, its output.

use std::time::Duration;

/// Maximum bytes of one call of `wasi:random`.
pub(super) const MAX_RANDOM: u64 = 64 << 10;

/// Maximum number of resources in one store.
pub(super) const MAX_RESOURCES: usize = 100_000;

/// The limits of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The cap on the sum of all linear memories, in bytes. The tensors that the stage makes have a second limit of
    /// this size.
    pub max_memory: u64,
    /// The time of one run, including the time it waits for the backend.
    pub deadline: Duration,
    /// The time of `init`, which runs once for each stage at a deployment.
    pub init_deadline: Duration,
    /// Maximum bytes of a reply, and of a context.
    pub max_output: u64,
}
