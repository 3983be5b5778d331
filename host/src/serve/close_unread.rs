//! Adds `Connection: close` to replies that are sent before the request body was fully read. Such a connection cannot
//! be used again. Without the header, a client would send its next request to a closed connection (RFC 9112, section
//! 9.6). What the client still sends is read and discarded (`linger`), so that the reply reaches the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A body that records that it was fully read.
pub(super) struct WatchedBody {
    body: Incoming,
    is_read: Arc<AtomicBool>,
}

/// Decides whether a connection must be closed after the reply.
pub(super) struct CloseUnread {
    is_read: Arc<AtomicBool>,
    version: Version,
}

/// Wraps the body of a request, and returns the object to apply to its reply.
pub(super) fn watch(request: Request<Incoming>) -> (Request<WatchedBody>, CloseUnread) {
    let is_read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let unread = CloseUnread { is_read: Arc::clone(&is_read), version: request.version() };
    (request.map(|body| WatchedBody { body, is_read }), unread)
}

impl CloseUnread {
    /// Adds `Connection: close` if the body was not fully read, and sets `must_linger`. HTTP/2 needs neither, because
    /// only the stream ends, not the connection.
    pub(super) fn apply<B>(&self, mut reply: Response<B>, must_linger: &AtomicBool) -> Response<B> {
        if !self.is_read.load(Relaxed) && self.version <= Version::HTTP_11 {
            must_linger.store(true, Relaxed);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

impl Body for WatchedBody {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.is_read.store(true, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
