//! The server: accepts connections of HTTP/1.1 and HTTP/2, and stops without losing a request.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use super::app::App;
use super::{close_unread, grpc, http};

/// How long a connection may take to send the head of a request: one that never ends would stay for ever. It also ends
/// connections that are kept and not used, so it is longer than clients and load balancers keep theirs (60 to 90 s): who
/// ends first cannot meet a request of the other's on its way.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// What a connection of HTTP/1 keeps for reading, and the longest head of a request. hyper's default is six times as much:
/// 20 MB with 16 callers that send photos.
const READ_BUFFER: usize = 64 << 10;
/// Requests of one HTTP/2 connection at once. More wait at the client.
const MAX_STREAMS: u32 = 256;
/// How often an HTTP/2 connection is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How long to wait when no connection can be accepted, as when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where the server listens.
pub struct Listeners {
    /// HTTP, and gRPC where that has no listener of its own.
    pub http: TcpListener,
    /// gRPC alone.
    pub grpc: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self { http, grpc: None }
    }
}

/// Serves until `shutdown` completes, then stops accepting and lets the requests inside finish within the
/// grace period.
///
/// # Errors
/// Never yet: a listener that has no connection to give is asked again.
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
            (Ok((stream, _)), router) => connections.serve(stream, router),
            (Err(error), _) => {
                tracing::warn!("no connection can be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracing::info!("stopping: no new connections; requests inside have {grace:?}");
    drop((http_listener, grpc_listener));
    health.stopping().await;
    if tokio::time::timeout(grace, connections.ended()).await.is_err() {
        tracing::warn!("the grace period is over; the requests still inside are cut off");
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

/// The connections that are open.
struct Connections {
    builder: Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    /// Becomes true when the server stops.
    stopping: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Connections {
    fn new() -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(READ_BUFFER);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).keep_alive_interval(PING);
        Self {
            builder,
            graceful: GracefulShutdown::new(),
            stopping: watch::Sender::new(false),
            tasks: tokio::task::JoinSet::new(),
        }
    }

    fn serve(&mut self, stream: TcpStream, router: &Router) {
        // Small frames of HTTP/2 would wait for each other.
        let _ = stream.set_nodelay(true);
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (router, asked) = (router.clone(), Arc::clone(&asked));
            tower::service_fn(move |request: Request<Incoming>| {
                asked.store(true, Relaxed);
                let (request, close_unread) = close_unread::watch(with_host(request));
                let reply = router.clone().oneshot(request);
                async move { reply.await.map(|reply| close_unread.apply(reply)) }
            })
        };
        let service = TowerToHyperService::new(service);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = self.graceful.watch(connection);
        let mut stopping = self.stopping.subscribe();
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            let mut connection = pin!(connection);
            // Until it is known which version of HTTP a connection speaks, no timer of hyper's runs; and the head of a
            // first request may be half there when the server stops.
            let patience = async {
                tokio::select! {
                    () = tokio::time::sleep(HEAD_TIME) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
            };
            tokio::select! {
                biased;
                _ = &mut connection => return,
                () = patience => {}
            }
            if asked.load(Relaxed) {
                let _ = connection.await;
            }
        });
    }

    async fn ended(self) {
        self.stopping.send_replace(true);
        self.graceful.shutdown().await;
    }
}

/// HTTP/2 names the host in the request line; administration looks for the header.
fn with_host(mut request: Request<Incoming>) -> Request<Incoming> {
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}
