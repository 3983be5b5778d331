//! The metrics of the host's own faults: lost log lines, and panics; and of file systems that do not answer.

use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::family;
use super::named_registry::Registry;
use crate::base::{file_access, panics, telemetry};

/// The metrics of the host's own faults.
pub(super) struct FaultMetrics {
    log_lines_dropped: Counter,
    panics: Counter,
    handler_panics: Counter,
    blocked_file_accesses: Gauge,
    /// The panics of background tasks.
    pub(super) tasks: TaskPanics,
}

/// The panics of background tasks. Clones share the same counters.
#[derive(Clone)]
pub struct TaskPanics(Family<TaskLabels, Counter>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

impl FaultMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let blocked_file_accesses = Gauge::default();
        let help = "Accesses to files that the file system does not answer, each with a thread";
        registry.register("blocked_file_accesses", help, blocked_file_accesses.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            log_lines_dropped: counter(
                "log_lines_dropped",
                "Log lines that were lost because stderr could not take them",
            ),
            panics: counter("panics", "Panics of the host, also those that it caught"),
            handler_panics: counter("handler_panics", "Requests that were answered with 500 because of a panic"),
            blocked_file_accesses,
            tasks: TaskPanics(family(registry, "background_task_panics", "Panics of background tasks", None)),
        }
    }

    /// Counts a request whose handler panicked.
    pub(super) fn record_handler_panic(&self) {
        self.handler_panics.inc();
    }

    /// Updates the metrics that the process counts elsewhere.
    pub(super) fn update(&self) {
        self.log_lines_dropped.inner().store(telemetry::dropped_lines(), Relaxed);
        self.panics.inner().store(panics::panics(), Relaxed);
        self.blocked_file_accesses.set(i64::try_from(file_access::blocked()).unwrap_or(i64::MAX));
    }
}

impl TaskPanics {
    /// Shows the counter of a task, also before the first panic.
    pub(in crate::records) fn register(&self, task: &'static str) {
        drop(self.0.get_or_create(&TaskLabels { task }));
    }

    /// Counts a panic.
    pub(in crate::records) fn inc(&self, task: &'static str) {
        self.0.get_or_create(&TaskLabels { task }).inc();
    }

    /// Sets the count of a task that counts its panics itself.
    pub(in crate::records) fn set(&self, task: &'static str, panics: u64) {
        self.0.get_or_create(&TaskLabels { task }).inner().store(panics, Relaxed);
    }
}
