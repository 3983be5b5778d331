//! A socket on which the server listens, with what its connections may ask for.

use std::sync::Arc;

use axum::Router;

use super::app::App;
use super::hosts::Hosts;
use super::listener::Listener;

/// A socket on which the server listens, with what its connections may ask for.
pub(super) struct Endpoint {
    /// The socket.
    pub(super) listener: Listener,
    /// The routes of its connections.
    pub(super) router: Router,
    /// The hosts that its requests may name; `None` if they may name any.
    pub(super) hosts: Option<Arc<Hosts>>,
}

impl Endpoint {
    /// The endpoints of sockets with the same routes.
    pub(super) fn all(app: &App, listeners: Vec<Listener>, router: &Router) -> Vec<Self> {
        let is_encrypted = app.tls.is_some();
        let addresses = || [Some(&app.server.listen), app.server.grpc_listen.as_ref(), app.admin_listen.as_ref()];
        let endpoint = |listener: Listener| {
            let configured = app.server.hosts.as_deref();
            let hosts = Hosts::of(&listener, is_encrypted, configured, addresses().into_iter().flatten());
            Self { listener, router: router.clone(), hosts }
        };
        listeners.into_iter().map(endpoint).collect()
    }

    /// Logs the ports of callers that answer under every name, without TLS and keys. A page of another site can read them, if
    /// the browser of its visitor reaches them.
    pub(super) fn log_open(app: &App, callers: &[Self]) {
        if app.tls.is_some() || app.keys.is_some() || app.server.hosts.is_some() {
            return;
        }
        let is_open = |endpoint: &&Self| endpoint.hosts.is_none() && matches!(endpoint.listener, Listener::Tcp(_));
        for Self { listener, .. } in callers.iter().filter(is_open) {
            tracing::info!(
                "{listener} answers requests for every host name, so a page of another site can read it from a browser that \
                 reaches it; list the names of the server in `[server] hosts` ([\"*\"] accepts all, without this line)"
            );
        }
    }
}
