//! The limits of a stage: its cap, its times, its output.

use std::time::Duration;

/// Maximum bytes of one call of `wasi:random`.
pub(super) const MAX_RANDOM: u64 = 64 << 10;

/// Maximum number of resources of the host in one run, and of all handles of a guest, also those of its own resources.
pub(super) const MAX_RESOURCES: usize = 20_000;

/// The same for an instance that makes thousands of calls, and may leak some resources in each of them.
pub(super) const MAX_RESOURCES_OF_MANY_CALLS: usize = 1_000_000;

/// Maximum number of pollables in one call of `wasi:io/poll`. The host polls all of them whenever one becomes ready, and
/// no deadline interrupts it: 45,000 would delay other requests by more than a second.
pub(super) const MAX_POLLED: usize = 1_024;

/// Maximum bytes of the name of a tensor that a plugin hands on.
pub(super) const MAX_TENSOR_NAME: usize = 1 << 10;

/// Maximum dimensions of a tensor that a plugin makes: those that a caller may send.
pub(super) const MAX_DIMENSIONS: usize = 32;

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
