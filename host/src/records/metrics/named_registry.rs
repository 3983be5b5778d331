//! The registry of the metrics, which knows their names.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry as Encoded, Unit};

/// The prefix of all names.
const PREFIX: &str = "plimsoll";

/// The registry of the metrics. It knows all names: the encoder leaves out a family without a series.
pub(super) struct Registry {
    pub(super) encoded: Encoded,
    pub(super) names: Vec<String>,
}

impl Registry {
    /// An empty registry.
    pub(super) fn new() -> Self {
        Self { encoded: Encoded::with_prefix(PREFIX), names: Vec::new() }
    }

    /// Registers a metric without a unit.
    pub(super) fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.add_name(name, "", metric.metric_type());
        self.encoded.register(name, help, metric);
    }

    /// Registers a metric whose name ends with a unit.
    pub(super) fn register_with_unit(&mut self, name: &str, help: &str, unit: Unit, metric: impl Metric) {
        self.add_name(name, &format!("_{}", unit.as_str()), metric.metric_type());
        self.encoded.register_with_unit(name, help, unit, metric);
    }

    fn add_name(&mut self, name: &str, unit: &str, metric: MetricType) {
        let total = if matches!(metric, MetricType::Counter) { "_total" } else { "" };
        self.names.push(format!("{PREFIX}_{name}{unit}{total}"));
    }
}
