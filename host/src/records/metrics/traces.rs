//! The metrics of traces, and the histograms whose buckets may name a trace.

use opentelemetry::trace::TraceId;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use std::time::SystemTime;

use super::families::family;
use super::named_registry::Registry;

/// The spans that were exported, and those that were not. Clones share the same counters.
#[derive(Clone)]
pub struct SpanCounts(Family<SpanLabels, Counter>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SpanLabels {
    result: &'static str,
}

impl SpanCounts {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self(family(registry, "trace_spans", "Spans of traces, by what became of them", None))
    }

    /// Spans that the collector took.
    pub(in crate::records) fn exported(&self, spans: usize) {
        self.add("exported", spans);
    }

    /// Spans that the collector did not take.
    pub(in crate::records) fn failed(&self, spans: usize) {
        self.add("failed", spans);
    }

    /// Spans for which the queue had no room.
    pub(in crate::records) fn dropped(&self, spans: usize) {
        self.add("dropped", spans);
    }

    /// The span of a request that its caller wanted to be sampled, above the limit for callers.
    pub(in crate::records) fn limited(&self) {
        self.add("limited", 1);
    }

    /// Shows all counters, also before the first span.
    pub(in crate::records) fn show(&self) {
        ["exported", "failed", "dropped", "limited"].into_iter().for_each(|result| self.add(result, 0));
    }

    fn add(&self, result: &'static str, spans: usize) {
        self.0.get_or_create(&SpanLabels { result }).inc_by(spans as u64);
    }
}

/// A histogram. If traces are exported, each bucket names the trace of its latest sampled request (an exemplar).
#[derive(Debug, Clone)]
pub enum TracedHistogram {
    /// Without exemplars, which cost a second lock.
    Plain(Histogram),
    /// With exemplars.
    Traced(HistogramWithExemplars<TraceLabels>),
}

/// The labels of an exemplar.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TraceLabels {
    trace_id: String,
}

impl TracedHistogram {
    /// Counts a value of a request, with its trace if that is sampled.
    pub fn observe(&self, value: f64, trace: Option<TraceId>) {
        match self {
            Self::Plain(histogram) => histogram.observe(value),
            Self::Traced(histogram) => {
                let labels = trace.map(|trace| TraceLabels { trace_id: trace.to_string() });
                let time = labels.as_ref().map(|_| SystemTime::now());
                histogram.observe(value, labels, time);
            }
        }
    }
}

impl TypedMetric for TracedHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for TracedHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Plain(histogram) => histogram.encode(encoder),
            Self::Traced(histogram) => histogram.encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Creates empty histograms with these bounds.
#[derive(Clone)]
pub(super) struct MakeTraced {
    pub(super) bounds: fn() -> Vec<f64>,
    pub(super) has_exemplars: bool,
}

impl MetricConstructor<TracedHistogram> for MakeTraced {
    fn new_metric(&self) -> TracedHistogram {
        let bounds = (self.bounds)().into_iter();
        match self.has_exemplars {
            false => TracedHistogram::Plain(Histogram::new(bounds)),
            true => TracedHistogram::Traced(HistogramWithExemplars::new(bounds)),
        }
    }
}
