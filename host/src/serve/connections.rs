//! The open connections. HTTP/1.1 and HTTP/2 are served on the same port.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt;

use super::close_unread;

/// Time limit for a connection to send the head of a request. Without it, a connection whose head is never complete
/// would stay open forever. It also closes idle connections. So it is longer than the idle time-outs of clients and
/// load balancers (60 to 90 s): they close first, and the server does not close a connection while a request is on its
/// way.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// Bytes of the read buffer of an HTTP/1 connection, and so the maximum length of a request head. hyper's default is
/// six times as large: 20 MB in total with 16 callers that send photos.
const READ_BUFFER: usize = 64 << 10;
/// Maximum concurrent requests of one HTTP/2 connection. The client holds back further requests.
const MAX_STREAMS: u32 = 256;
/// Interval of the pings that detect a dead HTTP/2 connection.
const PING: Duration = Duration::from_secs(20);

/// The open connections.
pub(super) struct Connections {
    builder: Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    /// Becomes true when the server stops.
    stopping: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Connections {
    pub(super) fn new() -> Self {
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

    /// Serves a connection in a task of its own.
    pub(super) fn serve<S>(&mut self, stream: S, router: &Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
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
            // hyper starts its timers only after the HTTP version of the connection is known, so the first request
            // needs a time limit here. When the server stops, it must not wait for an incomplete first head.
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

    /// Asks every connection to end after its running requests, and waits until all have ended.
    pub(super) async fn ended(self) {
        self.stopping.send_replace(true);
        self.graceful.shutdown().await;
    }
}

/// Adds the `Host` header if it is missing. HTTP/2 has the host in `:authority`, but [`Access`](super::access::Access)
/// checks the header.
fn with_host(mut request: Request<Incoming>) -> Request<Incoming> {
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}
