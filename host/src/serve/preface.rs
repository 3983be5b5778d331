//! Sees whether a connection begins with the preface of HTTP/2. The server learns that from hyper with the first request
//! only, and a client of HTTP/2 may wait long before it sends one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first bytes of the preface (RFC 9113, section 3.4). No method of HTTP/1 begins like this.
const FIRST: &[u8] = b"PRI * HTTP/2";

/// A stream whose first bytes are compared with the preface.
pub(super) struct Preface<S> {
    stream: S,
    is_http2: Arc<AtomicBool>,
    /// The bytes of the preface that have arrived; `None` after the comparison.
    matched: Option<usize>,
}

impl<S> Preface<S> {
    /// Wraps `stream`. Sets `is_http2` to true when the preface has arrived.
    pub(super) fn new(stream: S, is_http2: Arc<AtomicBool>) -> Self {
        Self { stream, is_http2, matched: Some(0) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Preface<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(matched) = self.matched {
            let arrived = &buffer.filled()[before..];
            let expected = &FIRST[matched..];
            let compared = arrived.len().min(expected.len());
            self.matched = (arrived[..compared] == expected[..compared]).then_some(matched + compared);
            if self.matched == Some(FIRST.len()) {
                self.is_http2.store(true, Relaxed);
                self.matched = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Preface<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_preface_is_seen_in_pieces_and_nothing_else_is_taken_for_it() {
        for (pieces, expected) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], true),
            (&["P", "RI * ", "HTTP/2.0\r\n"], true),
            (&["PRI * HTTP/1.1\r\n"], false),
            (&["POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n"], false),
            (&["PRI"], false),
        ] {
            let is_http2 = Arc::new(AtomicBool::new(false));
            let (server, mut client) = duplex(64);
            let mut server = Preface::new(server, Arc::clone(&is_http2));
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("written");
                let mut read = vec![0; piece.len()];
                server.read_exact(&mut read).await.expect("read");
                assert_eq!(read, piece.as_bytes());
            }
            assert_eq!(is_http2.load(Relaxed), expected, "{pieces:?}");
        }
    }
}
