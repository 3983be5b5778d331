//! The metrics of requests that were refused because of their credentials.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::families::family;
use super::named_registry::Registry;

/// The metrics of requests whose credentials were refused.
pub(super) struct AuthenticationMetrics {
    failures: Family<FailureLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabels {
    realm: &'static str,
    reason: &'static str,
}

impl AuthenticationMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let help =
            "Requests whose token or key, and connections whose client certificate, was missing, wrong or ambiguous";
        Self { failures: family(registry, "authentication_failures", help, None) }
    }

    pub(super) fn record_failure(&self, realm: &'static str, reason: &'static str) {
        self.failures.get_or_create(&FailureLabels { realm, reason }).inc();
    }
}
