//! The registry of the metrics, which knows their names.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry as Encoded, Unit};

/// The prefix of all names.
const PREFIX: &str = "plimsoll";

/// A metric as the documents and the dashboard need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricDescription {
    /// The name that `GET /metrics` shows; of a histogram, without `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts.
    pub help: String,
}

/// The registry of the metrics. It knows all of them: the encoder leaves out a family without a series.
pub(super) struct Registry {
    pub(super) encoded: Encoded,
    pub(super) metrics: Vec<MetricDescription>,
}

impl Registry {
    /// An empty registry.
    pub(super) fn new() -> Self {
        Self { encoded: Encoded::with_prefix(PREFIX), metrics: Vec::new() }
    }

    /// Registers a metric without a unit.
    pub(super) fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.add(name, "", help, metric.metric_type());
        self.encoded.register(name, help, metric);
    }

    /// Registers a metric whose name ends with a unit.
    pub(super) fn register_with_unit(&mut self, name: &str, help: &str, unit: Unit, metric: impl Metric) {
        self.add(name, &format!("_{}", unit.as_str()), help, metric.metric_type());
        self.encoded.register_with_unit(name, help, unit, metric);
    }

    fn add(&mut self, name: &str, unit: &str, help: &str, metric: MetricType) {
        let (kind, total) = match metric {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        self.metrics.push(MetricDescription {
            name: format!("{PREFIX}_{name}{unit}{total}"),
            kind,
            help: help.to_owned(),
        });
    }
}
