//! Applies `server.max_body`, `server.body_budget`, `server.body_timeout` and `server.body_min_rate` to gRPC messages, as
//! to HTTP bodies. The first five bytes of a message contain its length, which is checked at once; its bytes are reserved
//! when they arrive. A message that exceeds a limit gets its status here, because it is refused before the service
//! decodes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body::{Frame, SizeHint};
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;
use tonic::Status;
use tonic::server::NamedService;
use tower::Service;

use super::error::status;
use super::framing::Framing;
use super::reservation::{CallReservation, overloaded};
use crate::serve::App;
use crate::serve::admission::ConnectionBudget;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::open_connection::RunningState;
use crate::serve::pace::{Late, Pace};
use crate::serve::stream_limit::{MustEnd, StreamSlot};

/// A service whose request messages count against the budget.
#[derive(Clone)]
pub(super) struct Budgeted<S> {
    app: Arc<App>,
    service: S,
}

impl<S> Budgeted<S> {
    pub(super) fn new(app: &Arc<App>, service: S) -> Self {
        Self { app: Arc::clone(app), service }
    }
}

impl<S: NamedService> NamedService for Budgeted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Budgeted<S>
where
    S: Service<Request<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = TaskLocalFuture<CallReservation, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<ConnectionBudget>();
        let pace = Pace::start(&self.app.server, self.app.server.body_timeout);
        let mut reserved = self.app.admission.body(connection);
        reserved.follow(pace.arrival());
        let held = CallReservation::new(reserved);
        request.extensions_mut().insert(held.clone());
        let running = request.extensions().get::<Arc<RunningState>>().cloned();
        let slot = request.extensions().get::<Arc<StreamSlot>>().cloned();
        let is_unary = !STREAMS.iter().any(|stream| request.uri().path().ends_with(stream));
        let limit = self.app.server.max_body.as_u64();
        let decoding = held.clone();
        let request = request.map(|body| {
            Body::new(Messages {
                body,
                held,
                framing: Framing::new(limit, is_unary),
                running,
                must_end: slot.as_ref().map(|slot| slot.must_end()),
                _slot: slot,
                closed: Box::pin(Arc::clone(&self.app.stopping).closed()),
                ready: None,
                pace,
            })
        });
        decoding.scope(self.service.call(request))
    }
}

/// The methods with a stream of request messages.
const STREAMS: [&str; 2] = ["/ModelStreamInfer", "/ServerReflectionInfo"];

/// A request body that contains gRPC messages.
struct Messages {
    body: Body,
    held: CallReservation,
    /// Finds the messages. If the call has exactly one, its time-out starts with the call, and the call must end with it. The
    /// client of a stream may wait as long as it likes before a message.
    framing: Framing,
    /// A frame that waits until its bytes are reserved: the frame, the bytes, and since when it waits.
    ready: Option<(Frame<Bytes>, u64, Instant)>,
    pace: Pace,
    /// The state of the request on its connection, which notes whether a message of a stream is being handled; `None`
    /// without a connection.
    running: Option<Arc<RunningState>>,
    /// The place of the stream; `None` if the call has one message.
    _slot: Option<Arc<StreamSlot>>,
    /// Completes if the stream must end.
    must_end: Option<MustEnd>,
    /// Completes when the server stops.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Messages {
    /// Waits until the bytes of the frame that has arrived are reserved.
    fn poll_reserved(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Some((_, bytes, since)) = &self.ready else { return Poll::Ready(Ok(())) };
        let (bytes, since) = (*bytes, *since);
        ready!(self.held.poll_grow(context, bytes, self.framing.is_between())).map_err(overloaded)?;
        self.pace.pause(since.elapsed());
        Poll::Ready(Ok(()))
    }

    /// Waits until the bytes that the decoder needs are reserved. Returns true if it needed some.
    fn poll_wanted(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Status>> {
        let Some((bytes, since)) = self.held.wanted() else { return Poll::Ready(Ok(false)) };
        ready!(self.held.poll_grow(context, bytes, true)).map_err(overloaded)?;
        self.pace.pause(since.elapsed());
        Poll::Ready(Ok(true))
    }

    /// A message of a stream arrives, or all that arrived were handled.
    fn set_message(&self, has_message: bool) {
        if let Some(running) = self.running.as_ref().filter(|_| !self.framing.is_unary()) {
            running.set_message(has_message);
        }
    }

    /// The error of a message that did not arrive in time, or of a call that did not end after its only message.
    fn late(&self, late: Late) -> Status {
        let key = if matches!(late, Late::Time(_)) { " (`server.body_timeout`)" } else { "" };
        let what = if self.framing.is_inside() { "the message" } else { "the end of the call after its message" };
        let detail = format!("{what} {late}{key}");
        status(&ServeError::new(ErrorKind::BodyTimeout, detail))
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match ready!(this.poll_wanted(cx)) {
            // Without new bytes, the decoder tries again with those that it has.
            Ok(true) => return Poll::Ready(Some(Ok(Frame::data(Bytes::new())))),
            Ok(false) => {}
            Err(status) => return Poll::Ready(Some(Err(status))),
        }
        if this.ready.is_none() {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    this.pace.arrived(bytes);
                    this.set_message(true);
                    let found = match frame.data_ref().map(|data| this.framing.follow(data)).transpose() {
                        Ok(found) => found.unwrap_or_default(),
                        Err(status) => return Poll::Ready(Some(Err(status))),
                    };
                    this.pace.set_receiving(this.framing.is_inside());
                    // The time-out of a message in a stream starts with the message. If a call has only one message,
                    // its time-out starts with the call.
                    if !this.framing.is_inside() || (found.begins && !this.framing.is_unary()) {
                        this.pace.restart();
                    }
                    if !this.framing.is_inside() && this.framing.is_unary() {
                        this.pace.waits_for_end();
                    }
                    this.ready = Some((frame, found.longest, Instant::now()));
                }
                Poll::Ready(Some(Err(error))) => {
                    let detail = format!("the message could not be received: {error}");
                    return Poll::Ready(Some(Err(Status::cancelled(detail))));
                }
                Poll::Ready(None) => return Poll::Ready(this.framing.ended().map(Err)),
                // A call that never ends after its only message would hold the bytes of the message for ever.
                Poll::Pending if this.framing.is_inside() || this.framing.is_unary() => {
                    let late = ready!(this.pace.poll_late(cx));
                    return Poll::Ready(Some(Err(this.late(late))));
                }
                Poll::Pending => {
                    // The service polls for the next message only after it has handled the previous one. So an idle
                    // stream releases its reservation.
                    this.held.release();
                    this.set_message(false);
                    if let Some(Poll::Ready(error)) = this.must_end.as_mut().map(|must_end| must_end.poll(cx)) {
                        this.must_end = None;
                        return Poll::Ready(Some(Err(status(&error))));
                    }
                    // The client may keep an idle stream open for ever, so the server ends it before it stops.
                    return this.closed.as_mut().poll(cx).map(|()| None);
                }
            }
        }
        let reserved = ready!(this.poll_reserved(cx));
        let frame = this.ready.take().map(|(frame, ..)| frame);
        Poll::Ready(match reserved {
            Ok(()) => frame.map(Ok),
            Err(status) => Some(Err(status)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_none() && self.held.wanted().is_none() && !self.framing.is_inside() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
