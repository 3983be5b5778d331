//! The limits on requests: a byte budget for bodies, the number of concurrent requests, and the length of their queue.
//! Permits are released on drop, so every exit path frees the slot.

use std::sync::Arc;
use std::time::Instant;

use plimsoll_runtime::stage::RunObserver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ErrorKind, ServeError};
use crate::config::Server;
use crate::records::RequestRecord;

/// The budget is counted in steps of this many bytes, because a semaphore counts in 32 bits.
const STEP: u64 = 1 << 10;

/// The three limits of `[server]`.
pub struct Admission {
    bytes: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

/// A limit was reached.
#[derive(Debug, thiserror::Error)]
#[error("the host is busy: {0}; try again in a moment")]
pub struct Overloaded(&'static str);

impl From<Overloaded> for ServeError {
    fn from(error: Overloaded) -> Self {
        Self::new(ErrorKind::Overloaded, error.to_string())
    }
}

impl Admission {
    /// Creates the limits as configured.
    pub fn new(server: &Server) -> Self {
        // Rounded up like bodies, so that a body as large as the budget fits.
        let steps = usize::try_from(server.body_budget.as_u64().div_ceil(STEP)).unwrap_or(usize::MAX);
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            bytes: semaphore(steps),
            queue: semaphore((server.max_queue as usize) + server.max_concurrency as usize),
            slots: semaphore(server.max_concurrency as usize),
        }
    }

    /// Reserves `bytes` bytes of the budget for a body. Keep the permit as long as the body.
    ///
    /// # Errors
    /// If the budget is spent.
    pub fn reserve_body(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Overloaded> {
        let steps = u32::try_from(bytes.div_ceil(STEP)).unwrap_or(u32::MAX);
        Arc::clone(&self.bytes)
            .try_acquire_many_owned(steps)
            .map_err(|_| Overloaded("the byte budget for bodies (`server.body_budget`) is spent"))
    }

    /// Takes a queue slot. Keep the permit until the request ends.
    ///
    /// # Errors
    /// If the queue is full.
    pub fn enter_queue(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Overloaded("the queue (`server.max_queue`) is full"))
    }

    /// Waits for one of the `server.max_concurrency` slots, at most until the request's deadline. Records the waiting
    /// time.
    ///
    /// # Errors
    /// If the deadline passes first.
    pub async fn wait_for_slot(&self, record: &mut RequestRecord) -> Result<OwnedSemaphorePermit, ServeError> {
        let since = Instant::now();
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = tokio::time::timeout_at(record.deadline().into(), slot).await;
        record.set_queue_time(since.elapsed());
        match slot {
            Ok(slot) => Ok(slot.expect("the semaphore is never closed")),
            Err(_elapsed) => {
                let detail = "the request's deadline passed while it was queued";
                Err(ServeError::new(ErrorKind::QueueDeadline, detail))
            }
        }
    }
}
