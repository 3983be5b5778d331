//! The metrics of deployments.

use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use prometheus_client::registry::Unit;

use super::families::family;
use super::named_registry::Registry;
use crate::records::time::unix_seconds;

/// The metrics of deployments.
pub(super) struct DeploymentMetrics {
    deployments: Family<DeploymentLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    last_reload_served: Gauge,
    last_served: Gauge<f64, AtomicU64>,
    last_scan: Gauge<f64, AtomicU64>,
    unreadable: Gauge,
    failed_scans: Counter,
    not_durable: Gauge,
    failed_writes: Counter,
}

/// The results of deployments.
const RESULTS: [&str; 7] = ["serving", "canary", "unused", "unchanged", "refused", "promoted", "rollback"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeploymentLabels {
    plugin: String,
    result: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl DeploymentMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (unreadable, failed_scans) = (Gauge::default(), Counter::default());
        let (not_durable, failed_writes) = (Gauge::default(), Counter::default());
        let help = "Folders and files of plugins, and configuration files, that cannot be read now";
        registry.register("unreadable_files", help, unreadable.clone());
        let help = "Scans of the plugin folder and the configuration file in which something could not be read";
        registry.register("failed_scans", help, failed_scans.clone());
        let help = "1 if a restart would forget a deployment, because the data folder cannot be written to";
        registry.register("deployments_not_durable", help, not_durable.clone());
        registry.register("failed_journal_writes", "Changes that could not be made durable", failed_writes.clone());
        let last_reload_served = Gauge::default();
        let help = "1 if the configuration that was read last is served, 0 if it was refused";
        registry.register("config_last_reload_successful", help, last_reload_served.clone());
        let mut time = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
            gauge
        };
        let help = "When the configuration that is served was adopted, since 1970";
        let last_served = time("config_last_served_timestamp", help);
        let help = "When the plugin folder and the configuration file were scanned last, since 1970";
        let last_scan = time("last_scan_timestamp", help);
        Self {
            last_reload_served,
            last_served,
            last_scan,
            deployments: family(registry, "deployments", "Deployments of plugins by result", None),
            reloads: family(registry, "config_reloads", "New configurations by result", None),
            unreadable,
            failed_scans,
            not_durable,
            failed_writes,
        }
    }

    pub(super) fn record_deployment(&self, plugin: &str, result: &str) {
        let labels = DeploymentLabels { plugin: plugin.to_owned(), result: result.to_owned() };
        self.deployments.get_or_create(&labels).inc();
    }

    pub(super) fn record_reload(&self, result: &'static str) {
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
        self.set_served(result == "served");
    }

    /// Sets whether the configuration that was read last is served.
    pub(super) fn set_served(&self, is_served: bool) {
        self.last_reload_served.set(is_served.into());
        if is_served {
            self.last_served.set(unix_seconds(SystemTime::now()));
        }
    }

    pub(super) fn record_scan(&self) {
        self.last_scan.set(unix_seconds(SystemTime::now()));
    }

    /// Removes the counters of a plugin that is gone.
    pub(super) fn remove_plugin(&self, plugin: &str) {
        for result in RESULTS {
            self.deployments.remove(&DeploymentLabels { plugin: plugin.to_owned(), result: result.to_owned() });
        }
    }

    pub(super) fn set_unreadable(&self, count: usize, has_failed: bool) {
        self.unreadable.set(i64::try_from(count).unwrap_or(i64::MAX));
        if has_failed {
            self.failed_scans.inc();
        }
    }

    pub(super) fn record_journal(&self, is_durable: bool) {
        self.not_durable.set(i64::from(!is_durable));
        if !is_durable {
            self.failed_writes.inc();
        }
    }
}
