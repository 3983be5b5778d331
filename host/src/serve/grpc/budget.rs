//! The bytes of gRPC messages are held against `server.body_budget` and `server.body_timeout` as bodies of HTTP are.
//! A message says its length in its first five bytes, so no more is reserved than it has.

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

/// A service whose messages are counted.
#[derive(Clone)]
pub(super) struct Budgeted<S> {
    app: Arc<App>,
    service: S,
}

/// What a request holds of the budget: in its extensions, so that it is held as long as the message.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Reserved>>);

#[derive(Default)]
struct Reserved {
    permits: Vec<OwnedSemaphorePermit>,
    /// The longest message so far: there is one at a time.
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

/// The calls whose callers send many messages.
const STREAMS: [&str; 2] = ["/ModelStreamInfer", "/ServerReflectionInfo"];
/// Bytes in front of a message: whether it is packed, and its length.
const HEAD: usize = 5;

/// A body of messages.
struct Messages {
    body: Body,
    app: Arc<App>,
    held: Held,
    /// Whether there was a message.
    has_begun: bool,
    head: [u8; HEAD],
    head_read: usize,
    /// Bytes of the current message that are still to come.
    left: usize,
    time: Duration,
    /// Whether the call has one message, which is waited for from the start; a stream may begin with silence.
    is_unary: bool,
    /// Rings when the current message takes too long.
    late: Pin<Box<Sleep>>,
}

impl Messages {
    /// Follows the messages through a piece of the body. Says whether one begins in it.
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
                "the message has {bytes} bytes, {limit} are allowed (`server.max_body`)"
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

    /// Whether somebody waits for the rest of a message, or for the only one of a call.
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
                // The time of a stream's message begins with it; that of the only one of a call, with the call.
                if !this.is_inside() || (begins && !this.is_unary) {
                    let until = tokio::time::Instant::now() + this.time;
                    this.late.as_mut().reset(until);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Status::cancelled(format!("the message broke off: {error}")))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.is_inside() => {
                std::task::ready!(this.late.as_mut().poll(cx));
                let detail = format!("the message did not arrive within {:?} (`server.body_timeout`)", this.time);
                Poll::Ready(Some(Err(Status::deadline_exceeded(detail))))
            }
            Poll::Pending => {
                // Who asks for more has answered what there was, so a stream holds nothing while it is silent.
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
