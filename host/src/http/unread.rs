//! A reply to a request whose body was not read whole, as one that is refused by its head. The connection cannot go on
//! then, and a client that is not told would send its next request into its end (RFC 9112, section 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A body that says when all of it was read.
pub(super) struct Watched {
    body: Incoming,
    whole: Arc<AtomicBool>,
}

/// Whether a request's connection must end with its reply.
pub(super) struct Unread {
    whole: Arc<AtomicBool>,
    version: Version,
}

/// The request with a watched body.
pub(super) fn watch(request: Request<Incoming>) -> (Request<Watched>, Unread) {
    let whole = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let unread = Unread { whole: Arc::clone(&whole), version: request.version() };
    (request.map(|body| Watched { body, whole }), unread)
}

impl Unread {
    /// The reply, which says that the connection ends where it must. HTTP/2 only ends the stream.
    pub(super) fn tell<B>(&self, mut reply: Response<B>) -> Response<B> {
        if !self.whole.load(Relaxed) && self.version <= Version::HTTP_11 {
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

impl Body for Watched {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.whole.store(true, Relaxed);
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
