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
}
