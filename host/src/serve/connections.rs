//! The open connections. HTTP/1.1 and HTTP/2 are served on the same port.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::admission::Admission;
use super::app::App;
use super::client::Client;
use super::connection_limit::ConnectionSlot;
use super::endpoint::Endpoint;
use super::handler_panics::HandlerPanics;
use super::linger::Linger;
use super::listener::Peer;
use super::open_connection::Load;
use super::refusal::RefusalFormat;
use super::{close_unread, entrance, preface, reply_body};

/// Time limit for the head of the next request of a connection. Without it, a connection whose head is never complete
/// would stay open forever. It also closes idle connections. So it is longer than the idle time-outs of clients and
/// load balancers (60 to 90 s): they close first, and the server does not close a connection while a request is on its
/// way.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// Time limit for the first head of a connection of HTTP/1: a client connects to send a request. A client of HTTP/2 has
/// [`HEAD_TIME`], because it may connect before it has one.
const FIRST_HEAD_TIME: Duration = Duration::from_secs(30);
/// Bytes of the read buffer of an HTTP/1 connection, and so the maximum length of a request head. hyper's default is
/// six times as large: 20 MB in total with 16 callers that send photos.
const READ_BUFFER: usize = 64 << 10;
/// Maximum bytes of the head of an HTTP/2 request, as RFC 9113 counts them: as many as for HTTP/1.
const MAX_HEAD: u32 = 64 << 10;
/// Maximum concurrent requests of one HTTP/2 connection. The client holds back further requests.
const MAX_STREAMS: u32 = 256;
/// Interval of the pings that detect a dead HTTP/2 connection.
const PING: Duration = Duration::from_secs(20);

/// A connection that is this young when the server stops is still waited for: its handshake, or its first request, is on the
/// way, and closing it would lose the request. A lost packet is sent again after 1 s, and once more after 3 s (RFC 6298).
/// A stop waits this long only for connections that were opened just before it and never used.
const YOUNG: Duration = Duration::from_secs(5);
/// Time limit for the end of an idle connection that must make room for another.
const END_TIME: Duration = Duration::from_secs(1);

/// The phase of the server, which decides what the connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Requests are served, and clients are asked to use a new connection for their next request.
    Draining,
    /// Every connection ends after its running requests.
    Stopping,
}

/// The open connections.
pub(super) struct Connections {
    builder: Arc<Builder<TokioExecutor>>,
    phase: watch::Sender<Phase>,
    /// True while the server drains. Requests read it, so it is not behind the lock of `phase`.
    is_draining: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<()>,
    panics: HandlerPanics,
    admission: Arc<Admission>,
    reply_timeout: Duration,
}

/// The requests of a connection so far.
#[derive(Default)]
struct Requests {
    any: AtomicBool,
    http2: AtomicBool,
    /// True if the connection begins with the preface of HTTP/2.
    preface: Arc<AtomicBool>,
    /// True if the client may still be sending what is not read: the last request was answered before its body had
    /// arrived, or no request could be read so far.
    unread: Arc<AtomicBool>,
}

impl Connections {
    pub(super) fn new(app: &App) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(READ_BUFFER);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).keep_alive_interval(PING);
        // A request with a longer head gets 431. One with a much longer head ends the connection, with all other requests
        // on it, so the limit is not hyper's 16 KiB.
        builder.http2().max_header_list_size(MAX_HEAD);
        // A client may cancel all its requests at once. With h2's default of 20, this would end the connection too.
        builder.http2().max_pending_accept_reset_streams(MAX_STREAMS as usize);
        Self {
            builder: Arc::new(builder),
            phase: watch::Sender::new(Phase::Serving),
            is_draining: Arc::default(),
            tasks: tokio::task::JoinSet::new(),
            panics: HandlerPanics::new(&app.records),
            admission: Arc::clone(&app.admission),
            reply_timeout: app.server.reply_timeout,
        }
    }

    /// Serves a connection in its own task.
    pub(super) fn serve<S>(&mut self, stream: S, peer: Peer, endpoint: &Endpoint, slot: ConnectionSlot)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requests = Arc::new(Requests { unread: Arc::new(true.into()), ..Requests::default() });
        let service = {
            let Endpoint { router, hosts, .. } = endpoint;
            let (router, hosts) = (router.clone(), hosts.clone());
            let (requests, is_draining) = (Arc::clone(&requests), Arc::clone(&self.is_draining));
            let panics = self.panics.clone();
            let client = Client { address: peer, name: None };
            let (open, admission, reply_timeout) =
                (Arc::clone(&slot.connection), Arc::clone(&self.admission), self.reply_timeout);
            // A connection of HTTP/1 has one body at a time, so it needs no separate budget. The service is cloned for
            // each request, so the requests share the budget by a pointer.
            let budget = Arc::new(OnceLock::new());
            tower::service_fn(move |mut request: Request<Incoming>| {
                requests.any.store(true, Relaxed);
                requests.unread.store(false, Relaxed);
                let is_http2 = request.version() == Version::HTTP_2;
                if is_http2 {
                    requests.http2.store(true, Relaxed);
                    request.extensions_mut().insert(budget.get_or_init(|| admission.connection()).clone());
                }
                let (running, admission) = (open.begin(), Arc::clone(&admission));
                request.extensions_mut().insert(Arc::clone(running.state()));
                let is_draining = Arc::clone(&is_draining);
                let prepared = entrance::prepare(&mut request, &client, hosts.as_deref());
                let format = RefusalFormat::for_request(&request);
                let (request, close_unread) = close_unread::watch(request);
                let (panics, router, unread) = (panics.clone(), router.clone(), Arc::clone(&requests.unread));
                async move {
                    let reply = match prepared {
                        Ok(()) => panics.reply(&format, router.oneshot(request)).await?,
                        Err(refused) => format.refuse(refused),
                    };
                    let mut reply = close_unread.apply(reply, &unread);
                    if !reply_body::is_small(&reply, is_http2) {
                        reply = reply_body::count(reply, &admission, reply_timeout, running, &format, is_http2).await;
                    }
                    if !is_http2 && is_draining.load(Relaxed) {
                        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(reply)
                }
            })
        };
        let service = TowerToHyperService::new(service);
        let builder = Arc::clone(&self.builder);
        let mut phases = self.phase.subscribe();
        while self.tasks.try_join_next().is_some() {}
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.reply_timeout));
        let stream = preface::watch(Box::pin(stream), Arc::clone(&requests.preface));
        let stream = Linger::new(stream, Arc::clone(&requests.unread));
        slot.open();
        self.tasks.spawn(async move {
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut must_end = pin!(tokio::time::sleep(Duration::MAX));
            let mut is_ending = false;
            // hyper starts its timers only after the HTTP version of the connection is known, so the first request
            // needs a time limit here.
            let begin = Instant::now();
            let mut first_head = pin!(tokio::time::sleep_until(begin + FIRST_HEAD_TIME));
            let mut is_timed = true;
            let mut phase = *phases.borrow_and_update();
            let (mut goes_away, mut is_young) = (false, false);
            loop {
                // HTTP/2 has no `connection: close`. The frame GOAWAY lets running requests finish, and the client opens
                // a connection for the next one. A client that has sent no request yet would only connect once more.
                let waits_for_request = || match phase {
                    _ if goes_away => false,
                    Phase::Serving => false,
                    Phase::Draining => requests.http2.load(Relaxed),
                    Phase::Stopping => requests.any.load(Relaxed),
                };
                let ends_or_asks = poll_fn(|context| match connection.as_mut().poll(context) {
                    Poll::Ready(_) => Poll::Ready(true),
                    Poll::Pending if waits_for_request() => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                });
                // The connection comes first, so that a request that has arrived is seen before the connection is asked
                // to end.
                tokio::select! {
                    biased;
                    has_ended = ends_or_asks => {
                        if has_ended {
                            return;
                        }
                        connection.as_mut().graceful_shutdown();
                        goes_away = true;
                        is_young = false;
                    }
                    () = &mut first_head, if is_timed || is_young => {
                        if is_young {
                            return;
                        }
                        let end = begin + HEAD_TIME;
                        is_timed = !requests.any.load(Relaxed);
                        if is_timed {
                            if !requests.preface.load(Relaxed) || Instant::now() >= end {
                                return;
                            }
                            first_head.as_mut().reset(end);
                        }
                    }
                    () = slot.connection.must_close(), if !is_ending => {
                        if !requests.any.load(Relaxed) {
                            return;
                        }
                        connection.as_mut().graceful_shutdown();
                        // A slow client would not read the rest in time. Waiting for it would only cost other slow
                        // clients their connections.
                        let is_slow = matches!(slot.connection.load(), Load::Slow(_));
                        must_end.as_mut().reset(Instant::now() + if is_slow { Duration::ZERO } else { END_TIME });
                        is_ending = true;
                    }
                    // Does not wait for the head of a next request that never becomes complete.
                    () = &mut must_end, if is_ending => {
                        if slot.connection.is_idle() {
                            return;
                        }
                        must_end.as_mut().reset(Instant::now() + END_TIME);
                    }
                    Ok(()) = phases.changed() => {
                        phase = *phases.borrow_and_update();
                        if phase == Phase::Stopping {
                            if requests.any.load(Relaxed) {
                                connection.as_mut().graceful_shutdown();
                                goes_away = true;
                            } else {
                                // Ends at once if it is older.
                                is_young = true;
                                first_head.as_mut().reset(begin + YOUNG);
                            }
                        }
                    }
                }
            }
        });
    }

    /// Asks clients to use new connections: from now on each reply over HTTP/1.1 closes its connection, and connections of
    /// HTTP/2 get GOAWAY. Serves them meanwhile.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, Relaxed);
        self.phase.send_replace(Phase::Draining);
    }

    /// Asks every connection to end after its running requests, and waits until all have ended.
    pub(super) async fn ended(mut self) {
        self.phase.send_replace(Phase::Stopping);
        while self.tasks.join_next().await.is_some() {}
    }
}
