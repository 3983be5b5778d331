//! Requests to stop the server.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

/// A request to stop the server. Each further request ends the current step at once: first the drain, then the grace
/// period of the running requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The server first reports that it is not ready, and continues to serve for `server.drain`.
    Drain,
    /// The server accepts no more connections, and running requests may finish.
    Now,
}

/// Waits for the next request to stop. If there will be no more, waits forever.
pub(super) async fn next(stops: &mut Receiver<Stop>) -> Stop {
    match stops.recv().await {
        Some(stop) => stop,
        None => std::future::pending().await,
    }
}

/// The progress of the server's stop.
#[derive(Debug, Default)]
pub struct Stopping {
    /// True once the server was asked to stop: it is no longer ready for new requests.
    has_begun: AtomicBool,
    /// True once the connections end: streams that wait for their next message must end too.
    is_closing: watch::Sender<bool>,
}

impl Stopping {
    /// From now on the server is not ready.
    pub(super) fn begin(&self) {
        // A thread that reads this value also sees what happened before it, such as the start of the drain.
        self.has_begun.store(true, Release);
    }

    /// Returns true once the server was asked to stop.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Acquire)
    }

    /// From now on the connections end.
    pub(super) fn close(&self) {
        self.is_closing.send_replace(true);
    }

    /// Waits until the connections end.
    pub(super) async fn closed(self: Arc<Self>) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.is_closing.subscribe().wait_for(|is_closing| *is_closing).await;
    }
}
