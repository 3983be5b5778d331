//! The bodies of large replies. Their bytes count against `server.reply_budget` until they are sent, and a reply is cut
//! off if the client reads nothing of it for `server.reply_timeout`, or reads it slowly while other replies need the bytes
//! (`held_reply`).
//!
//! The client is observed by a separate task, because hyper does not poll the body while the client reads nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use futures_util::FutureExt;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;

use super::admission::Admission;
use super::byte_budget::Reservation;
use super::held_reply::{self, HeldReply, Piece};
use super::open_connection::Running;
use super::refusal::RefusalFormat;
use super::waiting_reply::ReplyReservation;

/// hyper gets a reply in pieces of at most this many bytes, so that the rest of it stays in the budget.
const PIECE: usize = 16 << 10;
/// Replies of HTTP/1 of at most this many bytes are not counted: a connection has one at a time.
const SMALL: usize = PIECE;
/// The same for HTTP/2, of which a connection has up to 256 at a time. The first two pieces have this size, and hyper keeps no
/// more of a reply for a client that allows a single byte.
const SMALL_OF_HTTP2: usize = 1 << 10;

/// The most bytes of a reply or a frame that are not counted.
fn small(is_http2: bool) -> usize {
    if is_http2 { SMALL_OF_HTTP2 } else { SMALL }
}

/// Returns true if the bytes of a reply are not counted.
pub(super) fn is_small(reply: &Response<Body>, is_http2: bool) -> bool {
    reply.body().size_hint().exact().is_some_and(|bytes| bytes <= small(is_http2) as u64)
}

/// Counts the bytes of a reply. `running` keeps its connection open until the reply is sent. If the budget is spent,
/// returns an error in the format of the request instead of the reply.
pub(super) async fn count(
    reply: Response<Body>,
    admission: &Arc<Admission>,
    timeout: Duration,
    running: Running,
    format: &RefusalFormat,
    is_http2: bool,
) -> Response<Body> {
    let small = small(is_http2);
    let exact = reply.body().size_hint().exact();
    let (parts, inner) = reply.into_parts();
    running.replies();
    let admission = Arc::clone(admission);
    let mut body =
        ReplyBody { inner, exact, admission, timeout, small, next: None, reserving: None, held: None, running };
    // A message of gRPC is encoded when its body is polled, so its size is not known before.
    if let Some(Some(Ok(frame))) = body.inner.frame().now_or_never() {
        match frame.into_data() {
            Ok(data) if data.len() > small => match body.admission.reply(data.len() as u64).await {
                Ok(reserved) => body.held = Some(body.hold(data, reserved)),
                Err(error) => return format.refuse(error.into()),
            },
            Ok(data) => body.next = Some(Frame::data(data)),
            Err(trailers) => body.next = Some(trailers),
        }
    }
    Response::from_parts(parts, Body::new(body))
}

/// The body of a large reply.
struct ReplyBody {
    inner: Body,
    /// Bytes that are left, if they are known.
    exact: Option<u64>,
    admission: Arc<Admission>,
    timeout: Duration,
    /// The most bytes of a frame that are not counted.
    small: usize,
    /// A frame that has arrived from `inner`.
    next: Option<Frame<Bytes>>,
    /// The reservation for `next`, which is large.
    reserving: Option<ReplyReservation>,
    /// The frame that is being sent.
    held: Option<Held>,
    running: Running,
}

/// A large frame that is being sent.
struct Held {
    reply: Arc<HeldReply>,
    observer: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.observer.abort();
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = this.poll_next(cx);
        // While a reply waits for the budget, something is done for it.
        this.running.state().asked(polled.is_pending() && this.reserving.is_none());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.next.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ReplyBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self;
        loop {
            if let Some(held) = &this.held {
                let Piece { bytes, is_last } = match held.reply.take(this.small, PIECE) {
                    Ok(piece) => piece,
                    Err(why) => return Poll::Ready(Some(Err(axum::Error::new(why)))),
                };
                if is_last {
                    this.held = None;
                }
                return Poll::Ready(Some(Ok(this.sent(Frame::data(bytes)))));
            }
            if let Some(reservation) = &mut this.reserving {
                let bytes = this.next.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
                let grown = ready!(this.admission.poll_reply(reservation, cx, bytes));
                let reserved = this.reserving.take().map(ReplyReservation::into_inner);
                let data = this.next.take().and_then(|frame| frame.into_data().ok());
                if let Err(error) = grown {
                    return Poll::Ready(Some(Err(axum::Error::new(error))));
                }
                this.held = data.zip(reserved).map(|(data, reserved)| this.hold(data, reserved));
                continue;
            }
            let frame = match this.next.take() {
                Some(frame) => frame,
                None => match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                    Some(Ok(frame)) => frame,
                    other => return Poll::Ready(other),
                },
            };
            if frame.data_ref().is_none_or(|data| data.len() <= this.small) {
                return Poll::Ready(Some(Ok(this.sent(frame))));
            }
            this.next = Some(frame);
            this.reserving = Some(this.admission.reply_reservation());
        }
    }

    fn hold(&self, data: Bytes, reserved: Reservation) -> Held {
        let reply = HeldReply::new(data, reserved, Arc::clone(self.running.state()));
        let slow = Arc::clone(&self.admission.slow_replies);
        let observer = tokio::spawn(held_reply::observe(Arc::downgrade(&reply), slow, self.timeout));
        Held { reply, observer }
    }

    fn sent(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.exact = self.exact.map(|left| left.saturating_sub(bytes));
        frame
    }
}
