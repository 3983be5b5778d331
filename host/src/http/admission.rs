//! Who may enter: a budget of bytes for bodies, and a bounded queue before a bounded number of places.
//! Permits release on drop, so whatever way a request ends, its place is free again.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::config::Server;
use crate::stage::Outcome;
use crate::trace::Trace;

/// The budget counts in these steps, for a semaphore counts in 32 bits.
const STEP: u64 = 1 << 10;

/// The three bounds of `[server]`.
pub struct Admission {
    bytes: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// There is no room.
#[derive(Debug, thiserror::Error)]
#[error("the host is busy: {0}; try again in a moment")]
pub struct Overloaded(&'static str);

/// How the request is counted, and what its caller is told.
pub type Refused = (Outcome, Problem);

impl From<Overloaded> for Refused {
    fn from(error: Overloaded) -> Self {
        (Outcome::NoCapacity, Problem::overloaded(error.to_string()))
    }
}

impl Admission {
    /// The bounds as configured.
    pub fn new(server: &Server) -> Self {
        // Rounded as bodies are, so that one as large as the budget fits.
        let steps = usize::try_from(server.body_budget.as_u64().div_ceil(STEP)).unwrap_or(usize::MAX);
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            bytes: semaphore(steps),
            queue: semaphore((server.max_queue as usize) + server.max_concurrency as usize),
            places: semaphore(server.max_concurrency as usize),
        }
    }

    /// Room for a body of so many bytes, held as long as the body.
    ///
    /// # Errors
    /// When the budget is spent.
    pub fn body(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Overloaded> {
        let steps = u32::try_from(bytes.div_ceil(STEP)).unwrap_or(u32::MAX);
        Arc::clone(&self.bytes)
            .try_acquire_many_owned(steps)
            .map_err(|_| Overloaded("the byte budget for bodies (`server.body_budget`) is spent"))
    }

    /// A place in the queue (or at once beyond it), held as long as the request.
    ///
    /// # Errors
    /// When the queue is full.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Overloaded("the queue (`server.max_queue`) is full"))
    }

    /// As [`Admission::enter`], with what the caller is told.
    ///
    /// # Errors
    /// When the queue is full.
    pub fn turn(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.enter().map_err(Refused::from)
    }

    /// Waits for a place until the request's deadline.
    ///
    /// # Errors
    /// When the deadline passed first.
    pub async fn place_for(&self, trace: &mut Trace) -> Result<OwnedSemaphorePermit, Refused> {
        let since = Instant::now();
        let place = tokio::time::timeout_at(trace.deadline().into(), self.place()).await;
        trace.queued(since.elapsed());
        place.map_err(|_| {
            let detail = "the request's deadline passed while it was queued";
            (Outcome::Deadline, Problem::deadline(detail))
        })
    }

    /// Waits for a place among the requests whose stages run.
    pub async fn place(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.places).acquire_owned().await.expect("never closed")
    }
}
