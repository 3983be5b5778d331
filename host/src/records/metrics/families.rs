//! Declares and registers families of metrics.

use std::hash::Hash;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Unit};

use super::named_registry::Registry;

/// How many buckets the histograms have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Buckets {
    /// Each bucket is twice as large as the one before: about 18 buckets.
    #[default]
    Fine,
    /// Each bucket is eight times as large as the one before: 6 buckets.
    Coarse,
    /// No buckets, only sums and counts; and no histograms and live instances of stages, which are most series of a host with
    /// many pipelines.
    None,
}

/// Creates an empty histogram with its buckets.
pub(super) type MakeHistogram = fn() -> Histogram;

/// Declares and registers a family of counters or gauges.
pub(super) fn family<L, M>(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>) -> Family<L, M>
where
    L: Clone + Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    M: Default + EncodeMetric + TypedMetric + std::fmt::Debug + Send + Sync + 'static,
    Family<L, M>: Clone + EncodeMetric,
{
    let family = Family::<L, M>::default();
    register(registry, name, help, unit, family.clone());
    family
}

/// Declares and registers a family of histograms.
pub(super) fn histograms<L, M, C>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    make: C,
) -> Family<L, M, C>
where
    L: Clone + Hash + Eq,
    C: MetricConstructor<M> + Clone,
    Family<L, M, C>: Metric,
{
    let family = Family::<L, M, C>::new_with_constructor(make);
    register(registry, name, help, unit, family.clone());
    family
}

/// The value of a gauge.
pub(super) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn register(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, metric: impl Metric) {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric),
        None => registry.register(name, help, metric),
    }
}

/// Bounds of buckets.
pub(super) type Bounds = fn() -> Vec<f64>;

/// Bounds from 0.1 ms to 13 s.
pub(super) fn seconds_bounds(buckets: Buckets) -> Bounds {
    match buckets {
        Buckets::Fine => || exponential_buckets(1e-4, 2.0, 18).collect(),
        Buckets::Coarse => || exponential_buckets(4e-4, 8.0, 6).collect(),
        Buckets::None => Vec::new,
    }
}

/// Buckets from 0.1 ms to 13 s.
pub(super) fn seconds(buckets: Buckets) -> MakeHistogram {
    match buckets {
        Buckets::Fine => || Histogram::new(seconds_bounds(Buckets::Fine)()),
        Buckets::Coarse => || Histogram::new(seconds_bounds(Buckets::Coarse)()),
        Buckets::None => || Histogram::new([]),
    }
}

/// Buckets from 1 to 512 rows.
pub(super) fn rows() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 10))
}

/// Bounds from 64 KiB to 4 GiB, the range of a linear memory.
pub(super) fn bytes_bounds(buckets: Buckets) -> Bounds {
    match buckets {
        Buckets::Fine => || exponential_buckets(65536.0, 2.0, 17).collect(),
        Buckets::Coarse => || exponential_buckets(262_144.0, 8.0, 6).collect(),
        Buckets::None => Vec::new,
    }
}
