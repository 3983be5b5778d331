//! Where a request came from.

use std::net::SocketAddr;

/// Where a request came from, for the log.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The method of HTTP.
    pub method: &'static str,
    /// The route, or the path of the gRPC method.
    pub route: &'static str,
    /// The address of the client; `None` if it came over a unix socket.
    pub client: Option<SocketAddr>,
}
