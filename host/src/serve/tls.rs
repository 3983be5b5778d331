//! TLS (`[tls]`): the certificate of the server, and the check of client certificates. The files are read again when
//! they change; if the new ones are not valid, the certificate stays as it was.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::{Accept, TlsAcceptor, server};

use super::listener::Peer;
use crate::base::files;
use crate::base::watched_files::WatchedFiles;
use crate::config::{Config, ConfigError};

/// Time limit of a handshake. Without it, a client that says nothing would keep its connection for the time limit of a
/// request's head.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The certificate of the server.
pub struct Tls {
    files: WatchedFiles,
    config: ArcSwap<ServerConfig>,
}

/// A connection, encrypted if the server has a certificate. The handshake happens when the connection is first read, so
/// accepting a connection waits for no client.
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
}

impl Tls {
    /// Reads the certificate. `None` if the configuration names none.
    ///
    /// # Errors
    /// If a file cannot be read, or is not valid.
    pub fn configured(config: &Config) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(tls) = &config.tls else { return Ok(None) };
        let mut paths = vec![config.resolve(&tls.cert), config.resolve(&tls.key)];
        paths.extend(tls.client_ca.as_ref().map(|path| config.resolve(path)));
        let files = WatchedFiles::new(paths);
        let failed = |(key, reason): (&str, String)| ConfigError::new(&config.path, format!("tls.{key}"), reason);
        let built = build(files.paths()).map_err(failed)?;
        Ok(Some(Arc::new(Self { files, config: ArcSwap::from_pointee(built) })))
    }

    /// Reads the files again if they have changed.
    pub(super) fn refresh(&self) {
        if !self.files.have_changed() {
            return;
        }
        match build(self.files.paths()) {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(target: "plimsoll::audit", action = "certificate", "change");
            }
            Err((key, reason)) => {
                tracing::error!("tls.{key}: {reason}; new connections get the certificate from before");
            }
        }
    }

    /// Encrypts a connection.
    pub(super) fn secure<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: Peer) -> Secured<S> {
        let accept = TlsAcceptor::from(self.config.load_full()).accept(stream);
        Secured::Handshake(Box::new(Handshake { accept, late: Box::pin(sleep(HANDSHAKE_TIME)), peer }))
    }
}

/// Builds the configuration of rustls from the files of certificate and key, and of the authorities of clients if there
/// are any. An error names the key of the configuration.
fn build(paths: &[std::path::PathBuf]) -> Result<ServerConfig, (&'static str, String)> {
    let [cert, key, clients @ ..] = paths else { return Err(("cert", "no file is named".to_owned())) };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| ("cert", error.to_string()))?;
    let builder = match clients.first() {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).map_err(|reason| ("client_ca", reason))? {
                let added = roots.add(certificate);
                added.map_err(|error| ("client_ca", format!("{}: {error}", path.display())))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|error| ("client_ca", format!("{}: {error}", path.display())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(cert).map_err(|reason| ("cert", reason))?;
    let text = read(key).map_err(|reason| ("key", reason))?;
    let secret = PrivateKeyDer::from_pem_slice(&text);
    let secret = secret.map_err(|error| ("key", format!("{} has no private key in PEM: {error}", key.display())))?;
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| {
        ("key", format!("{} and {} do not belong together: {error}", key.display(), cert.display()))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read_regular(path, files::MAX_SETTINGS)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| format!("{} is not PEM: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{} has no certificate in PEM", path.display()));
    }
    Ok(found)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
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
        let client = handshake.peer;
        match opened {
            Ok(stream) => *self = Self::Encrypted(Box::new(stream)),
            Err(error) => {
                let client = client.map(tracing::field::display);
                tracing::info!(target: "plimsoll::tls", client, "no TLS connection: {error}");
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
