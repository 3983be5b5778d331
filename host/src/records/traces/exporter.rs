//! The thread that exports spans. It has a runtime of its own, so that it takes no worker from requests.

use std::sync::mpsc::sync_channel;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use plimsoll_runtime::panics;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::ended::EndedRequest;
use super::queue::{Waiting, Waitings};
use super::settings::TraceSettings;
use super::transport::{TransportError, connect};
use crate::records::metrics::traces::SpanCounts;

/// Exports the spans of requests that have ended.
pub(super) struct Exporter {
    settings: TraceSettings,
    exporter: SpanExporter,
    waitings: Waitings,
    counts: SpanCounts,
    scope: InstrumentationScope,
    /// Whether the last call of the collector failed; then the next one that does is not logged.
    has_failed: bool,
}

/// The requests of one call of the collector.
#[derive(Default)]
struct Batch {
    requests: Vec<EndedRequest>,
    spans: usize,
    /// Who waits for the export.
    flush: Option<oneshot::Sender<()>>,
    /// No more requests will come.
    is_last: bool,
}

impl Exporter {
    /// Starts the thread. It ends when the queue is dropped.
    ///
    /// # Errors
    /// If the connection is not possible, or the system refuses the thread.
    pub(super) fn start(settings: TraceSettings, waitings: Waitings, counts: SpanCounts) -> Result<(), TransportError> {
        let (started, is_started) = sync_channel(1);
        std::thread::Builder::new().name("traces".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error.into()))),
            };
            runtime.block_on(async {
                let exporter = match connect(&settings) {
                    Ok(exporter) => exporter,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let _ = started.send(Ok(()));
                let scope = InstrumentationScope::builder("plimsoll").with_version(env!("CARGO_PKG_VERSION")).build();
                Self { settings, exporter, waitings, counts, scope, has_failed: false }.run().await;
            });
            // A collector that does not answer may hold a connection.
            runtime.shutdown_background();
        })?;
        is_started.recv().unwrap_or_else(|_| Err(std::io::Error::other("it ended").into()))
    }

    async fn run(mut self) {
        loop {
            let batch = self.next().await;
            let (flush, is_last) = (batch.flush, batch.is_last);
            if batch.spans > 0 {
                self.export(batch.requests, batch.spans).await;
            }
            drop(flush);
            if is_last {
                return;
            }
        }
    }

    /// Waits for requests: until there are enough spans for a call, the first has waited long enough, or somebody wants
    /// what there is.
    async fn next(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut until: Option<Instant> = None;
        while batch.spans < self.settings.max_batch {
            let next = match until {
                None => self.waitings.receiver.recv().await,
                Some(until) => match timeout_at(until, self.waitings.receiver.recv()).await {
                    Ok(next) => next,
                    Err(_elapsed) => break,
                },
            };
            match next {
                Some(Waiting::Request(request)) => {
                    batch.spans += request.spans();
                    batch.requests.push(*request);
                    until.get_or_insert_with(|| Instant::now() + self.settings.delay);
                }
                Some(Waiting::Flush(done)) => {
                    batch.flush = Some(done);
                    break;
                }
                None => {
                    batch.is_last = true;
                    break;
                }
            }
        }
        batch
    }

    async fn export(&mut self, requests: Vec<EndedRequest>, count: usize) {
        let export = async {
            let spans = requests.into_iter().flat_map(|request| request.into_spans(&self.scope)).collect();
            self.exporter.export(spans).await
        };
        let exported = panics::catch(timeout(self.settings.timeout, export)).await;
        self.waitings.release(count);
        let failure = match exported {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(_elapsed)) => Some(format!("it did not answer within {:?}", self.settings.timeout)),
            Err(_panic) => Some("the exporter panicked".to_owned()),
        };
        match &failure {
            None => self.counts.exported(count),
            Some(_) => self.counts.failed(count),
        }
        let endpoint = &self.settings.endpoint;
        match (failure, std::mem::take(&mut self.has_failed)) {
            (Some(failure), had_failed) => {
                self.has_failed = true;
                if !had_failed {
                    tracing::warn!(
                        target: "plimsoll::traces",
                        "traces are lost, because the collector does not take them: {failure}; requests are not delayed",
                    );
                }
            }
            (None, true) => tracing::info!(target: "plimsoll::traces", "the collector takes traces again"),
            (None, false) => tracing::debug!(target: "plimsoll::traces", %endpoint, spans = count, "exported"),
        }
    }
}
