//! Declares and registers families of metrics.

use std::hash::Hash;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

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
pub(super) fn histograms<L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    make: MakeHistogram,
) -> Family<L, Histogram, MakeHistogram>
where
    L: Clone + Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<L, Histogram, MakeHistogram>::new_with_constructor(make);
    register(registry, name, help, unit, family.clone());
    family
}

/// The value of a gauge.
pub(super) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn register(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    metric: impl prometheus_client::registry::Metric,
) {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric),
        None => registry.register(name, help, metric),
    }
}

/// Buckets from 0.1 ms to 13 s.
pub(super) fn seconds(buckets: Buckets) -> MakeHistogram {
    match buckets {
        Buckets::Fine => || Histogram::new(exponential_buckets(1e-4, 2.0, 18)),
        Buckets::Coarse => || Histogram::new(exponential_buckets(4e-4, 8.0, 6)),
    }
}

/// Buckets from 1 to 512 rows.
pub(super) fn rows() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 10))
}

/// Buckets from 64 KiB to 4 GiB, the range of a linear memory.
pub(super) fn bytes(buckets: Buckets) -> MakeHistogram {
    match buckets {
        Buckets::Fine => || Histogram::new(exponential_buckets(65536.0, 2.0, 17)),
        Buckets::Coarse => || Histogram::new(exponential_buckets(262_144.0, 8.0, 6)),
    }
}
