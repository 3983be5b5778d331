//! Applies `server.max_body`, `server.body_budget` and `server.body_timeout` to gRPC messages, as to HTTP bodies. The
//! first five bytes of a message contain its length, so only its own length is reserved. A message that exceeds a
//! limit gets its status here, because it is refused before the service decodes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::Status;
use tonic::server::NamedService;
use tower::Service;

use crate::serve::App;

/// A service whose request messages count against the budget.
#[derive(Clone)]
pub(super) struct Budgeted<S> {
    app: Arc<App>,
    service: S,
}

/// The part of the budget that a request has reserved. It is in the request's extensions, so that the handler can keep
/// it as long as the message.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Reserved>>);

#[derive(Default)]
struct Reserved {
    permits: Vec<OwnedSemaphorePermit>,
    /// Bytes of the longest message so far. The messages of a stream are handled one at a time and share this
    /// reservation.
    bytes: u64,
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
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        let held = Held::default();
        request.extensions_mut().insert(held.clone());
        let is_unary = !STREAMS.iter().any(|stream| request.uri().path().ends_with(stream));
        let time = self.app.server.body_timeout;
        let app = Arc::clone(&self.app);
        let request = request.map(|body| {
            Body::new(Messages {
                body,
                app,
                held,
                has_begun: false,
                is_unary,
                head: [0; HEAD],
                head_read: 0,
                left: 0,
                time,
                late: Box::pin(tokio::time::sleep(time)),
            })
        });
        self.service.call(request)
    }
}

/// The methods with a stream of request messages.
const STREAMS: [&str; 2] = ["/ModelStreamInfer", "/ServerReflectionInfo"];
/// Bytes of the prefix of a message: one for the compression flag, four for the length.
const HEAD: usize = 5;

/// A request body that contains gRPC messages.
struct Messages {
    body: Body,
    app: Arc<App>,
    held: Held,
    /// True after the prefix of the first message was read.
    has_begun: bool,
    head: [u8; HEAD],
    head_read: usize,
    /// Bytes of the current message that have not arrived yet.
    left: usize,
    time: Duration,
    /// True if the call has exactly one message. Its time-out starts with the call. The client of a stream may wait as
    /// long as it likes before its first message.
    is_unary: bool,
    /// Completes when the time-out of the current message passes.
    late: Pin<Box<Sleep>>,
}

impl Messages {
    /// Finds the messages in the next bytes of the body and reserves their length. Returns true if a message begins in
    /// these bytes.
    ///
    /// # Errors
    /// If a message is larger than `server.max_body`, or the budget is spent.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<bool, Status> {
        let mut begins = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                self.left -= part;
                bytes = &bytes[part..];
                continue;
            }
            begins |= self.head_read == 0;
            self.head[self.head_read] = bytes[0];
            self.head_read += 1;
            bytes = &bytes[1..];
            if self.head_read == HEAD {
                self.head_read = 0;
                self.has_begun = true;
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
                self.reserve(self.left as u64)?;
            }
        }
        Ok(begins)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), Status> {
        let limit = self.app.server.max_body.as_u64();
        if bytes > limit {
            return Err(Status::resource_exhausted(format!(
                "the message has {bytes} bytes, but {limit} are allowed (`server.max_body`)"
            )));
        }
        let mut reserved = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > reserved.bytes {
            let permit = self.app.admission.reserve_body(bytes - reserved.bytes);
            reserved.permits.push(permit.map_err(|error| Status::unavailable(error.to_string()))?);
            reserved.bytes = bytes;
        }
        Ok(())
    }

    /// Returns true if a message is incomplete, or if the only message of a call has not begun.
    fn is_inside(&self) -> bool {
        self.left > 0 || self.head_read > 0 || (self.is_unary && !self.has_begun)
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let begins = match frame.data_ref().map(|data| this.follow(data)).transpose() {
                    Ok(begins) => begins == Some(true),
                    Err(status) => return Poll::Ready(Some(Err(status))),
                };
                // The time-out of a message in a stream starts with the message. If a call has only one message, its
                // time-out starts with the call.
                if !this.is_inside() || (begins && !this.is_unary) {
                    let until = tokio::time::Instant::now() + this.time;
                    this.late.as_mut().reset(until);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Status::cancelled(format!("the message could not be received: {error}")))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.is_inside() => {
                std::task::ready!(this.late.as_mut().poll(cx));
                let detail = format!("the message did not arrive within {:?} (`server.body_timeout`)", this.time);
                Poll::Ready(Some(Err(Status::deadline_exceeded(detail))))
            }
            Poll::Pending => {
                // The service polls for the next message only after it has handled the previous one. So an idle stream
                // releases its reservation.
                if !this.is_unary {
                    *this.held.0.lock().unwrap_or_else(PoisonError::into_inner) = Reserved::default();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
