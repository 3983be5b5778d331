//! A connection that may be encrypted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::{Accept, rustls, server};

use super::credentials::Failure;
use super::failure_log::FailureLog;
use super::listener::Peer;

/// Time limit of a handshake. Without it, a client that sends nothing would keep its connection for the time limit of a
/// request's head.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A connection, encrypted if the server has a certificate. The handshake happens when the connection is first read, so
/// accepting a connection does not wait for the client.
pub(super) enum Secured<S> {
    /// Not encrypted.
    Plain(S),
    /// The handshake has not ended yet.
    Handshake(Box<Handshake<S>>),
    /// Encrypted.
    Encrypted(Box<server::TlsStream<S>>),
    /// The handshake has failed.
    Failed,
}

/// A handshake, and its time limit.
pub(super) struct Handshake<S> {
    accept: Accept<S>,
    late: Pin<Box<Sleep>>,
    peer: Peer,
    failures: Arc<FailureLog>,
}

/// The error of a handshake, as the library of TLS says it.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Why there is no TLS connection.
fn explain(error: &io::Error) -> String {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "the client does not speak TLS; perhaps its address begins with `http://` instead of `https://`".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Why the certificate of the client was refused; `None` if the handshake failed for another reason.
fn certificate_failure(error: &io::Error) -> Option<Failure> {
    match tls_error(error)? {
        rustls::Error::NoCertificatesPresented => Some(Failure::Missing),
        // A server checks no other certificates.
        rustls::Error::InvalidCertificate(_) => Some(Failure::Wrong),
        _ => None,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    /// A connection that begins with a handshake.
    pub(super) fn handshake(accept: Accept<S>, peer: Peer, failures: Arc<FailureLog>) -> Self {
        Self::Handshake(Box::new(Handshake { accept, late: Box::pin(sleep(HANDSHAKE_TIME)), peer, failures }))
    }

    /// Completes the handshake.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Handshake(handshake) = self else {
            return Poll::Ready(match self {
                Self::Failed => Err(io::ErrorKind::NotConnected.into()),
                _ => Ok(()),
            });
        };
        let opened = match Pin::new(&mut handshake.accept).poll(context) {
            Poll::Ready(opened) => opened,
            Poll::Pending => {
                ready!(handshake.late.as_mut().poll(context));
                Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))
            }
        };
        match opened {
            Ok(stream) => *self = Self::Encrypted(Box::new(stream)),
            Err(error) => {
                handshake.failures.not_encrypted(handshake.peer, certificate_failure(&error), &explain(&error));
                *self = Self::Failed;
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            // The slices of a reply become one record.
            _ => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }
}
