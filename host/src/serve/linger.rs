//! If the server closes a connection while its client still sends, it continues to read for a bounded time.
//!
//! If a server closes a connection that has unread bytes, the system resets it, and the reply that was just sent may be
//! lost: a client or proxy that is still sending gets an error instead of the reason for the refusal. So the server
//! ends its own direction only, and discards what arrives until the client closes, for a bounded time (RFC 9112,
//! section 9.6; nginx calls it `lingering_close`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The time for which a closed connection is read.
const TIME: Duration = Duration::from_secs(30);
/// Reading ends if nothing arrives for this time.
const SILENCE: Duration = Duration::from_secs(5);
/// Reading ends after this many bytes. This bounds how much a client can make the server discard.
const MAX_BYTES: usize = 256 << 20;
/// The bytes that are discarded at a time.
const PIECE: usize = 16 << 10;
/// The bytes after which the task yields to other connections.
const TURN: usize = 1 << 20;

/// A stream that is read for a bounded time after its end, if its client may still be sending.
pub(super) struct Linger<S> {
    stream: S,
    must_linger: Arc<AtomicBool>,
    time: Duration,
    silence: Duration,
    discarded: usize,
    state: State,
}

enum State {
    Open,
    /// The client's bytes are discarded.
    Discarding {
        until: Instant,
        /// When reading ends: at the end of the time, or of the silence.
        next: Pin<Box<Sleep>>,
    },
    Closed,
}

impl<S> Linger<S> {
    /// Wraps `stream`. It lingers if `must_linger` is true when it is closed.
    pub(super) fn new(stream: S, must_linger: Arc<AtomicBool>) -> Self {
        Self { stream, must_linger, time: TIME, silence: SILENCE, discarded: 0, state: State::Open }
    }
}

impl<S: AsyncRead + Unpin> Linger<S> {
    /// Discards what arrives. Completes when the client has closed the connection, or when reading must end.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; PIECE];
        let turn_ends = self.discarded.saturating_add(TURN);
        while self.discarded < MAX_BYTES {
            if self.discarded >= turn_ends {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.discarded += buffer.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Completes when the client has been sending for too long, or has sent nothing for too long. `before` is the
    /// number of bytes that were discarded before this call.
    fn poll_time(&mut self, context: &mut Context<'_>, before: usize) -> Poll<()> {
        let State::Discarding { until, next } = &mut self.state else { return Poll::Ready(()) };
        let now = Instant::now();
        if now >= *until {
            return Poll::Ready(());
        }
        if self.discarded > before {
            next.as_mut().reset((now + self.silence).min(*until));
        }
        next.as_mut().poll(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<S> {
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
        if matches!(self.state, State::Open) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.state = match self.must_linger.load(Relaxed) {
                true => State::Discarding {
                    until: Instant::now() + self.time,
                    next: Box::pin(tokio::time::sleep(self.silence)),
                },
                false => State::Closed,
            };
        }
        let before = self.discarded;
        if matches!(self.state, State::Discarding { .. })
            && (self.poll_discard(context).is_ready() || self.poll_time(context, before).is_ready())
        {
            self.state = State::Closed;
        }
        if matches!(self.state, State::Discarding { .. }) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Linger<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn pair(must_linger: bool) -> (Linger<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(1 << 10);
        (Linger::new(server, Arc::new(must_linger.into())), client)
    }

    /// Closes the server's side while the client sends every `interval`.
    async fn close(time: Duration, silence: Duration, interval: Duration) -> usize {
        let (mut server, mut client) = pair(true);
        (server.time, server.silence) = (time, silence);
        let sends = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(interval).await;
            }
        });
        server.shutdown().await.expect("closed");
        let discarded = server.discarded;
        drop(server);
        sends.abort();
        discarded
    }

    #[tokio::test]
    async fn the_server_does_not_wait_for_a_client_that_sends_forever_or_is_silent() {
        const EVER: Duration = Duration::from_secs(3_600);
        let discarded = close(Duration::from_millis(200), EVER, Duration::from_millis(1)).await;
        assert!(discarded > 1, "it sends until the time is over");
        assert_eq!(close(EVER, Duration::from_millis(50), EVER).await, 1);
    }

    #[tokio::test]
    async fn the_end_of_the_client_ends_the_wait() {
        let (mut server, mut client) = pair(true);
        let client = tokio::spawn(async move {
            let mut reply = Vec::new();
            client.read_to_end(&mut reply).await.expect("the reply");
            client.write_all(&[b'x'; 10_000]).await.expect("sent, although the server's direction has ended");
            reply
        });
        server.write_all(b"refused").await.expect("written");
        server.shutdown().await.expect("closed");
        assert_eq!(server.discarded, 10_000);
        assert_eq!(client.await.expect("no panic"), b"refused");
    }

    #[tokio::test]
    async fn a_connection_without_unread_bytes_closes_at_once() {
        let (mut server, mut client) = pair(false);
        client.write_all(b"x").await.expect("written");
        server.shutdown().await.expect("closed");
        assert_eq!(server.discarded, 0);
    }
}
