//! The metrics of deployments.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::family;
use super::named_registry::Registry;

/// The metrics of deployments.
pub(super) struct DeploymentMetrics {
    deployments: Family<DeploymentLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
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
        Self {
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
