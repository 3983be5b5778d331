//! The metrics of the other servers of a fleet.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::family;
use super::named_registry::Registry;

/// Whether the other servers answer.
pub(super) struct PeerMetrics {
    up: Family<PeerLabels, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeerLabels {
    peer: String,
}

impl PeerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let help = "1 if another server with which canaries are decided answered the last question, 0 if not";
        Self { up: family(registry, "fleet_peer_up", help, None) }
    }

    pub(super) fn set(&self, peer: &str, is_up: bool) {
        self.up.get_or_create(&PeerLabels { peer: peer.to_owned() }).set(is_up.into());
    }
}
