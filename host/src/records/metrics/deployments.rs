//! The metrics of deployments.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::families::family;

/// The metrics of deployments.
pub(super) struct DeploymentMetrics {
    deployments: Family<DeploymentLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
}

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
        Self {
            deployments: family(registry, "deployments", "Deployments of plugins by result", None),
            reloads: family(registry, "config_reloads", "New configurations by result", None),
        }
    }

    pub(super) fn record_deployment(&self, plugin: &str, result: &str) {
        let labels = DeploymentLabels { plugin: plugin.to_owned(), result: result.to_owned() };
        self.deployments.get_or_create(&labels).inc();
    }

    pub(super) fn record_reload(&self, result: &'static str) {
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }
}
