//! The requests that wait until their spans are exported. Their number of spans is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::ended::EndedRequest;
use crate::records::metrics::traces::SpanCounts;

/// The end of the queue at which requests are added.
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Waiting>,
    spans: Arc<AtomicUsize>,
    max: usize,
    counts: SpanCounts,
}

/// The end of the exporter.
pub(super) struct Waitings {
    pub(super) receiver: mpsc::UnboundedReceiver<Waiting>,
    spans: Arc<AtomicUsize>,
}

/// What waits.
pub(super) enum Waiting {
    /// A request that has ended.
    Request(Box<EndedRequest>),
    /// Everything before it is to be exported now; then the sender is dropped.
    Flush(oneshot::Sender<()>),
}

/// An empty queue for at most `max` spans.
pub(super) fn queue(max: usize, counts: SpanCounts) -> (Queue, Waitings) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let spans = Arc::new(AtomicUsize::new(0));
    (Queue { sender, spans: Arc::clone(&spans), max, counts }, Waitings { receiver, spans })
}

impl Queue {
    /// Adds a request, or drops and counts its spans if there is no room.
    pub(super) fn add(&self, request: EndedRequest) {
        let spans = request.spans();
        let fits = |waiting: usize| waiting.checked_add(spans).filter(|sum| *sum <= self.max);
        let is_added = self.spans.fetch_update(Relaxed, Relaxed, fits).is_ok()
            && self.sender.send(Waiting::Request(Box::new(request))).is_ok();
        if !is_added {
            self.counts.dropped(spans);
        }
    }

    /// Waits until everything before is exported, at most for `limit`.
    pub(super) async fn flush(&self, limit: Duration) {
        let (done, is_done) = oneshot::channel();
        if self.sender.send(Waiting::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(limit, is_done).await;
        }
    }
}

impl Waitings {
    /// Makes room: so many spans do not wait any more.
    pub(super) fn release(&self, spans: usize) {
        self.spans.fetch_sub(spans, Relaxed);
    }
}
