//! The client with which the servers of a fleet ask each other for their canaries.

use std::time::Duration;

use reqwest::redirect::Policy;

use crate::config::{Config, ConfigError};
use crate::deploy::fleet_report::FleetReport;

/// The route of the reports.
const ROUTE: &str = "/v1/fleet";
/// The time for one reply.
const REPLY: Duration = Duration::from_secs(3);
/// Maximum bytes of a reply.
const MAX_REPLY: usize = 8 << 20;

/// The client of the other servers.
pub(super) struct FleetClient {
    http: reqwest::Client,
    /// The addresses of the servers.
    pub(super) peers: Vec<String>,
    key: String,
}

impl FleetClient {
    /// The client of a configuration; `None` if it names no other server. `key` is what the servers ask each other with.
    ///
    /// # Errors
    /// If there is no key, or the HTTP client cannot be created.
    pub(super) fn new(config: &Config, key: Option<String>) -> Result<Option<Self>, ConfigError> {
        if config.fleet.peers.is_empty() {
            return Ok(None);
        }
        let failed = |reason: String| ConfigError::new(&config.path, "fleet.peers", reason);
        let key = key.ok_or_else(|| {
            failed(
                "the servers of a fleet need the same administration token; set `[admin] token_file` or the variable \
                 PLIMSOLL_ADMIN_TOKEN"
                    .to_owned(),
            )
        })?;
        if config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
            let reason = "the servers of a fleet have no client certificates for each other; remove `tls.client_ca`, or \
                          decide canaries on each server alone by removing `fleet.peers`";
            return Err(failed(reason.to_owned()));
        }
        // The key must not go to a server that a reply names, and not to a proxy.
        let mut builder = reqwest::Client::builder().redirect(Policy::none()).no_proxy().timeout(REPLY);
        if !config.fleet.peers.iter().any(|peer| peer.starts_with("https:")) {
            // A machine without CA certificates can use plain HTTP.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            failed(format!(
                "the HTTP client cannot be created ({error}); for https, install the package `ca-certificates`, or name a \
                 file of certificates in the variable SSL_CERT_FILE"
            ))
        })?;
        Ok(Some(Self { http, peers: config.fleet.peers.clone(), key }))
    }

    /// Asks one server.
    ///
    /// # Errors
    /// If it does not answer, or not with a report: the reason.
    pub(super) async fn ask(&self, peer: &str) -> Result<FleetReport, String> {
        let url = format!("{}{ROUTE}", peer.trim_end_matches('/'));
        let innermost = |error: reqwest::Error| {
            if error.is_timeout() {
                return format!("no reply within {REPLY:?}");
            }
            let error: &dyn std::error::Error = &error;
            std::iter::successors(Some(error), |error| error.source())
                .last()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        let mut response = self.http.get(url).bearer_auth(&self.key).send().await.map_err(innermost)?;
        let status = response.status();
        match status.as_u16() {
            200 => {}
            401 => return Err("it has another administration token (401)".to_owned()),
            404 => {
                return Err("it has no `[fleet] peers`, or administration has another address there (404)".to_owned());
            }
            _ => return Err(format!("it answered {status}")),
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(innermost)? {
            if body.len() + part.len() > MAX_REPLY {
                return Err(format!("its reply has more than {MAX_REPLY} bytes"));
            }
            body.extend_from_slice(&part);
        }
        let report: FleetReport =
            serde_json::from_slice(&body).map_err(|error| format!("its reply cannot be read: {error}"))?;
        report.checked()
    }
}
