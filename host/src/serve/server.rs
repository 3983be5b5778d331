//! The server: accepts HTTP/1.1 and HTTP/2 connections, and finishes running requests before it stops.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};

use super::app::App;
use super::connections::Connections;
use super::{grpc, http};

/// Pause after a connection could not be accepted, for example because there are no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The sockets on which the server listens.
pub struct Listeners {
    /// For HTTP. Also for gRPC if `grpc` is `None`.
    pub http: TcpListener,
    /// For gRPC only.
    pub grpc: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self { http, grpc: None }
    }
}

/// Serves until `shutdown` completes. Then it accepts no more connections, and running requests may finish within the
/// grace period.
///
/// # Errors
/// None at present: if a connection cannot be accepted, the server logs a warning and tries again.
pub async fn serve(
    app: Arc<App>,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let grace = app.server.grace_period;
    let Listeners { http: http_listener, grpc: grpc_listener } = listeners.into();
    let watch = tokio::spawn(crate::deploy::watch::watch(Arc::downgrade(&app.deployments)));
    let services = grpc::Services::new(&app);
    let health = services.health.clone();
    let mut connections = Connections::new();
    let router = http::router(app);
    let (router, grpc_router) = match &grpc_listener {
        None => (router.merge(services.router()), Router::new()),
        Some(_) => (router, services.router()),
    };
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = http_listener.accept() => (accepted, &router),
            accepted = accept(grpc_listener.as_ref()) => (accepted, &grpc_router),
        };
        match accepted {
            (Ok((stream, _)), router) => {
                // Otherwise small HTTP/2 frames would be delayed by Nagle's algorithm.
                let _ = stream.set_nodelay(true);
                connections.serve(stream, router);
            }
            (Err(error), _) => {
                tracing::warn!("cannot accept a connection, trying again: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracing::info!("stopping: accepting no new connections; running requests may finish within {grace:?}");
    drop((http_listener, grpc_listener));
    health.stopping().await;
    if tokio::time::timeout(grace, connections.ended()).await.is_err() {
        tracing::warn!("the grace period is over; the requests that still run are cancelled");
    }
    watch.abort();
    Ok(())
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
