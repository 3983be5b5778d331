//! Everything that is counted since start.

use std::sync::Arc;

use super::background::BackgroundTasks;
use super::memory::MemoryStats;
use super::metrics::{Buckets, Metrics};
use super::recent::RecentRequests;
use super::shadow::ShadowStats;
use super::statistics::ModelStatisticsStore;
use super::traces::transport::TransportError;
use super::traces::{TraceSettings, Traces};

/// The records of a process.
pub struct Records {
    /// The Prometheus metrics.
    pub metrics: Arc<Metrics>,
    /// High-water marks and callers.
    pub memory: MemoryStats,
    /// Counts and times by model and version.
    pub statistics: ModelStatisticsStore,
    /// How much the outputs of shadow chips differ.
    pub shadows: ShadowStats,
    /// The latest requests.
    pub recent: RecentRequests,
    /// The background tasks and threads.
    pub background: BackgroundTasks,
    /// The traces; `None` if they are off.
    pub traces: Option<Arc<Traces>>,
}

impl Records {
    /// Creates empty records. `caller_header` is the name of the header that identifies the caller; reports show it.
    /// `top_callers` is the number of callers that are tracked by bytes, and also the number that are tracked by
    /// requests. `buckets` are those of the metrics.
    pub fn new(caller_header: &str, top_callers: usize, buckets: Buckets) -> Self {
        Self::with(caller_header, top_callers, Metrics::new(buckets, false))
    }

    /// As [`Records::new`], and exports traces.
    ///
    /// # Errors
    /// If traces cannot be exported with these settings.
    pub fn traced(
        caller_header: &str,
        top_callers: usize,
        buckets: Buckets,
        settings: TraceSettings,
    ) -> Result<Self, TransportError> {
        let metrics = Metrics::new(buckets, true);
        let traces = Arc::new(Traces::start(settings, metrics.spans())?);
        Ok(Self { traces: Some(traces), ..Self::with(caller_header, top_callers, metrics) })
    }

    fn with(caller_header: &str, top_callers: usize, metrics: Metrics) -> Self {
        let metrics = Arc::new(metrics);
        Self {
            memory: MemoryStats::new(caller_header, top_callers, Arc::clone(&metrics)),
            background: BackgroundTasks::new(metrics.task_panics()),
            shadows: ShadowStats::new(Arc::clone(&metrics)),
            metrics,
            recent: RecentRequests::default(),
            statistics: ModelStatisticsStore::default(),
            traces: None,
        }
    }
}
