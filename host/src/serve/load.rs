//! How busy the server is: the requests that run and wait, next to their limits.

use serde::Serialize;

use super::admission::Admission;

/// The requests that run and wait now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Requests, or images of a request, whose stages run.
    pub running: usize,
    /// The most that may run (`server.max_concurrency`).
    pub max_concurrency: u32,
    /// Requests that wait for a slot to run.
    pub queued: usize,
    /// The most that may wait (`server.max_queue`).
    pub max_queue: u32,
}

impl Load {
    /// Counts the slots that are taken. A request that runs has a slot of both kinds.
    pub fn of(admission: &Admission) -> Self {
        let running = admission.run_slots.taken();
        Self {
            running,
            max_concurrency: admission.max_concurrency,
            queued: admission.queue_slots.taken().saturating_sub(running),
            max_queue: admission.max_queue,
        }
    }
}
