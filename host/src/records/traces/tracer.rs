//! The traces of a process.

use std::time::Duration;

use opentelemetry::trace::TraceId;

use super::context::CallerContext;
use super::ended::EndedRequest;
use super::exporter::Exporter;
use super::queue::{self, Queue};
use super::sampler::{CallerTraces, Decision, Sampler};
use super::settings::TraceSettings;
use super::transport::TransportError;
use crate::records::metrics::traces::SpanCounts;

/// The traces of a process.
pub struct Traces {
    sampler: Sampler,
    callers: CallerTraces,
    counts: SpanCounts,
    queue: Queue,
}

impl Traces {
    /// Starts the exporter.
    ///
    /// # Errors
    /// If the address of the collector is not valid, the connection cannot be encrypted, or the system refuses the thread.
    pub fn start(settings: TraceSettings, counts: SpanCounts) -> Result<Self, TransportError> {
        counts.show();
        let sampler = settings.sampler;
        let (queue, waitings) = queue::queue(settings.max_queue, counts.clone());
        Exporter::start(settings, waitings, counts.clone())?;
        Ok(Self { sampler, callers: CallerTraces::default(), counts, queue })
    }

    /// Returns true if a request is sampled.
    pub(super) fn samples(&self, trace: TraceId, caller: Option<&CallerContext>) -> bool {
        let decision = self.sampler.decide(trace, caller, &self.callers);
        if decision == Decision::Limited {
            self.counts.limited();
        }
        decision == Decision::Sampled
    }

    /// Exports a request that has ended, unless the queue is full.
    pub(super) fn end(&self, request: EndedRequest) {
        self.queue.add(request);
    }

    /// Exports what waits. Returns after `limit` also if the collector has not answered.
    pub async fn flush(&self, limit: Duration) {
        self.queue.flush(limit).await;
    }
}
