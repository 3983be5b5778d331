//! The server: accepts HTTP/1.1 and HTTP/2 connections. Before it stops it drains, and finishes running requests.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio_util::either::Either;

use super::app::App;
use super::connection_limit::{ConnectionLimit, ConnectionSlot};
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::failure_log::FailureLog;
use super::listener::{Listener, Peer, Stream};
use super::part::Part;
use super::secured::Secured;
use super::stop::{self, Stop};
use super::tls::Tls;
use super::{fleet, grpc, http, refresh};
use crate::base::service_manager;

/// Pause after a connection could not be accepted, for example because there are no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The same if an idle connection is being closed to make room.
const CLOSING_PAUSE: Duration = Duration::from_millis(50);

/// The sockets on which the server listens.
pub struct Listeners {
    /// For HTTP. Also for gRPC if `grpc` is empty.
    pub http: Vec<Listener>,
    /// For gRPC only.
    pub grpc: Vec<Listener>,
    /// For administration, reports and metrics, if these have their own addresses.
    pub admin: Vec<Listener>,
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self { http: vec![http.into()], grpc: Vec::new(), admin: Vec::new() }
    }
}

/// Maximum number of connections that are still accepted when the server stops: those of the system's queue.
const QUEUE: usize = 4096;

/// Serves until it receives a request to stop, or the channel of these requests is closed (which is the same as
/// [`Stop::Now`]). Then it drains if it was asked to, accepts no more connections, and running requests may finish within
/// the grace period.
///
/// # Errors
/// None at present: if a connection cannot be accepted, the server logs a warning and tries again.
pub async fn serve(app: Arc<App>, listeners: impl Into<Listeners>, mut stops: Receiver<Stop>) -> io::Result<()> {
    let (drain, grace) = (app.server.drain, app.server.grace_period);
    let Listeners { http: http_listeners, grpc: grpc_listeners, admin: admin_listeners } = listeners.into();
    let part = if app.admin_listen.is_some() { Part::Callers } else { Part::All };
    let watch = tokio::spawn(crate::deploy::watch::watch(Arc::downgrade(&app.deployments)));
    let services = grpc::Services::new(&app);
    let health = services.health.clone();
    let router = http::router(Arc::clone(&app), part);
    let (router, grpc_router) = match grpc_listeners.is_empty() {
        true => (router.merge(services.router(part)), Router::new()),
        false => (router, services.router(part)),
    };
    let admin_router =
        http::router(Arc::clone(&app), Part::Administration).merge(services.router(Part::Administration));
    let refresh = (app.keys.is_some() || app.tls.is_some()).then(|| {
        let (background, app) = (app.records.background.clone(), Arc::downgrade(&app));
        tokio::spawn(async move { background.supervise("refresh", || refresh::follow(app.clone())).await })
    });
    let fleet = app.fleet.is_some().then(|| {
        let (background, app) = (app.records.background.clone(), Arc::downgrade(&app));
        tokio::spawn(async move { background.supervise("fleet", || fleet::follow(app.clone())).await })
    });
    let mut callers = Endpoint::all(&app, http_listeners, &router);
    Endpoint::log_open(&app, &callers);
    callers.append(&mut Endpoint::all(&app, grpc_listeners, &grpc_router));
    let (limit, admin_limit) = (Arc::clone(&app.connections.callers), Arc::clone(&app.connections.administration));
    let group = |endpoints, limit, others| ListenerGroup {
        endpoints,
        first: 0,
        tls: app.tls.clone(),
        failures: Arc::clone(&app.failures),
        arrived: None,
        limit,
        others,
    };
    let mut endpoints = Endpoints {
        callers: group(callers, Arc::clone(&limit), Vec::new()),
        administration: group(Endpoint::all(&app, admin_listeners, &admin_router), admin_limit, vec![limit]),
    };
    let mut connections = Connections::new(&app);

    let asked = endpoints.serve_until(&mut connections, stops.recv()).await.unwrap_or(Stop::Now);
    let drains = asked == Stop::Drain && !drain.is_zero();
    // This comes before the readiness changes and before the log says that the server stops, so that every reply after
    // either closes its connection.
    connections.drain();
    app.stopping.begin();
    service_manager::stopping("running requests may finish");
    let stopping = Arc::clone(&app.stopping);
    let shadows = Arc::clone(&app.shadows);
    let deployments = Arc::downgrade(&app.deployments);
    drop(app);
    health.stopping().await;
    if drains {
        tracing::info!(
            "draining for {drain:?}: the server is not ready, and still serves; a second signal ends the drain"
        );
        let drained = async {
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                _ = stop::next(&mut stops) => tracing::info!("the drain ends early, because of another signal"),
            }
        };
        endpoints.serve_until(&mut connections, drained).await;
    }
    tracing::info!(
        "stopping: accepting no new connections; running requests may finish within {grace:?}; another signal cancels \
         them"
    );
    endpoints.close(&mut connections);
    stopping.close();
    // Nobody waits for their answers.
    shadows.stop();
    tokio::select! {
        () = connections.ended() => {}
        () = tokio::time::sleep(grace) => {
            tracing::warn!("the grace period is over; the requests that still run are cancelled");
        }
        _ = stop::next(&mut stops) => {
            tracing::warn!("the requests that still run are cancelled, because of another signal");
        }
    }
    watch.abort();
    for task in [refresh, fleet].into_iter().flatten() {
        task.abort();
    }
    // A change of the plugin folder or of a canary may not be on disk yet.
    if let Some(state) = deployments.upgrade().and_then(|deployments| deployments.latest_state())
        && let Err(reason) = state.confirmed().await
    {
        tracing::error!("a restart forgets the latest changes: {reason}");
    }
    Ok(())
}

/// The listeners. Those of administration have a separate bound on connections, so that callers cannot lock
/// administrators out.
struct Endpoints {
    callers: ListenerGroup,
    administration: ListenerGroup,
}

/// Listeners with one bound on their connections.
struct ListenerGroup {
    /// The listeners.
    endpoints: Vec<Endpoint>,
    /// The endpoint that is polled first. It changes with each poll, so that every endpoint is served.
    first: usize,
    /// Encrypts the connections of ports.
    tls: Option<Arc<Tls>>,
    /// Counts and logs the connections that could not be encrypted.
    failures: Arc<FailureLog>,
    /// A client that waits for room.
    arrived: Option<Arrived>,
    /// The bound on its connections.
    limit: Arc<ConnectionLimit>,
    /// The bounds of other groups, whose idle connections take descriptors too.
    others: Vec<Arc<ConnectionLimit>>,
}

/// A connection that is accepted, and not served yet.
struct Arrived {
    stream: Secured<Stream>,
    peer: Peer,
    /// The index of its endpoint.
    endpoint: usize,
}

/// Returns true if the process or the system has no descriptors or no memory for a connection (accept(2)).
fn is_lack_of_room(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| lacks.contains(&error))
}

impl Endpoints {
    /// Serves new connections until `end` completes.
    async fn serve_until<T>(&mut self, connections: &mut Connections, end: impl Future<Output = T>) -> T {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                biased;
                ended = &mut end => return ended,
                slot = self.administration.next() => self.administration.serve_arrived(connections, slot),
                slot = self.callers.next() => self.callers.serve_arrived(connections, slot),
            }
        }
    }

    /// Closes the listeners. The clients in the system's queue are served first.
    fn close(self, connections: &mut Connections) {
        self.administration.close(connections);
        self.callers.close(connections);
    }
}

impl ListenerGroup {
    /// Waits for the next client, and for room for it. The client is accepted before there is room, because idle connections
    /// are closed only for a client that has arrived.
    async fn next(&mut self) -> ConnectionSlot {
        if self.arrived.is_none() {
            self.arrived = Some(self.accept().await);
        }
        self.limit.room().await
    }

    /// Serves the connection that has arrived, if there is one.
    fn serve_arrived(&mut self, connections: &mut Connections, slot: ConnectionSlot) {
        if let Some(Arrived { stream, peer, endpoint }) = self.arrived.take() {
            connections.serve(stream, peer, &self.endpoints[endpoint], slot);
        }
    }

    /// Waits for the next connection. While the process has no room for one, idle connections are closed: the bound on
    /// connections does not count descriptors that are used for other things.
    async fn accept(&mut self) -> Arrived {
        let mut is_logged = false;
        let (stream, peer, endpoint) = loop {
            match poll_fn(|context| self.poll_accept(context)).await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    // Once for each connection: the pause may be short.
                    if !std::mem::replace(&mut is_logged, true) {
                        tracing::warn!("cannot accept a connection, trying again: {error}");
                    }
                    let is_closing = is_lack_of_room(&error)
                        && [&self.limit].into_iter().chain(&self.others).any(|limit| limit.close_idle());
                    tokio::time::sleep(if is_closing { CLOSING_PAUSE } else { ACCEPT_PAUSE }).await;
                }
            }
        };
        if let Either::Left(stream) = &stream {
            // Otherwise small HTTP/2 frames would be delayed by Nagle's algorithm.
            let _ = stream.set_nodelay(true);
        }
        let is_port = matches!(stream, Either::Left(_));
        let stream = match &self.tls {
            Some(tls) if is_port => tls.secure(stream, peer, &self.failures),
            _ => Secured::Plain(stream),
        };
        Arrived { stream, peer, endpoint }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer, usize)>> {
        self.first = self.first.wrapping_add(1);
        for offset in 0..self.endpoints.len() {
            let endpoint = self.first.wrapping_add(offset) % self.endpoints.len();
            if let Poll::Ready(accepted) = self.endpoints[endpoint].listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, peer)| (stream, peer, endpoint)));
            }
        }
        Poll::Pending
    }

    /// Closes the listeners. The clients in the system's queue are served first.
    fn close(mut self, connections: &mut Connections) {
        for _ in 0..QUEUE {
            if self.arrived.is_none() {
                self.arrived = self.accept().now_or_never();
            }
            if self.arrived.is_none() {
                return;
            }
            let slot = self.limit.extra();
            self.serve_arrived(connections, slot);
        }
    }
}
