//! TLS (`[tls]`): the certificate of the server, and the check of client certificates. The files are read again when
//! they change; if the new ones are not valid, the previous certificate stays in use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use plimsoll_runtime::text::shortened;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, rustls};

use super::failure_log::FailureLog;
use super::listener::Peer;
use super::secured::Secured;
use crate::base::files;
use crate::base::watched_files::WatchedFiles;
use crate::config::{Config, ConfigError};

/// The certificate of the server.
pub struct Tls {
    files: WatchedFiles,
    config: ArcSwap<ServerConfig>,
}

/// Why the files of the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
enum TlsError {
    #[error("no file is named")]
    NoFile,
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is not valid PEM: {}", path.display(), explain(error))]
    NotPem { path: PathBuf, error: pem::Error },
    #[error("{} has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)", .0.display())]
    NoKey(PathBuf),
    #[error("{} has a certificate that cannot be read: {error}", path.display())]
    Certificate { path: PathBuf, error: Box<rustls::Error> },
    #[error("{} has a private key that cannot be used: {error}", path.display())]
    Key { path: PathBuf, error: Box<rustls::Error> },
    #[error("{} is not the private key of the certificate in {}", key.display(), cert.display())]
    Mismatch { key: PathBuf, cert: PathBuf },
    #[error("{}: {error}", path.display())]
    Authority { path: PathBuf, error: rustls::Error },
    #[error("{}: {error}", path.display())]
    Authorities { path: PathBuf, error: VerifierBuilderError },
    #[error("{0}")]
    Protocols(rustls::Error),
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
        let failed = |(key, reason): (&str, TlsError)| ConfigError::new(&config.path, format!("tls.{key}"), reason);
        let built = build(files.paths()).map_err(failed)?;
        Ok(Some(Arc::new(Self { files, config: ArcSwap::from_pointee(built) })))
    }

    /// Reads the files again if they have changed.
    pub(super) fn refresh(&self) {
        match self.files.read_if_changed(build) {
            Some(Ok(config)) => {
                self.config.store(Arc::new(config));
                tracing::info!(target: "plimsoll::audit", action = "certificate", "change");
            }
            Some(Err((key, reason))) => tracing::error!(
                "tls.{key}: {reason}; new connections get the previous certificate, and the file is tried again"
            ),
            None => {}
        }
    }

    /// Encrypts a connection.
    pub(super) fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: Peer,
        failures: &Arc<FailureLog>,
    ) -> Secured<S> {
        let accept = TlsAcceptor::from(self.config.load_full()).accept(stream);
        Secured::handshake(accept, peer, Arc::clone(failures))
    }
}

/// What is wrong with a file; the library shows bytes as numbers.
fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no `-----END …-----`, so the file is cut off".to_owned(),
        pem::Error::IllegalSectionStart { line } => {
            format!("a section begins with `{}`", shortened(&String::from_utf8_lossy(line)))
        }
        other => other.to_string(),
    }
}

/// Builds the configuration of rustls from the files of certificate and key, and of the authorities of clients if there
/// are any. An error names the key of the configuration.
fn build(paths: &[PathBuf]) -> Result<ServerConfig, (&'static str, TlsError)> {
    let [cert, key, clients @ ..] = paths else { return Err(("cert", TlsError::NoFile)) };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| ("cert", TlsError::Protocols(error)))?;
    let builder = match clients.first() {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let in_client_ca = |error| ("client_ca", error);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).map_err(in_client_ca)? {
                let added = roots.add(certificate);
                added.map_err(|error| in_client_ca(TlsError::Authority { path: path.clone(), error }))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let failed = |error| in_client_ca(TlsError::Authorities { path: path.clone(), error });
            builder.with_client_cert_verifier(verifier.map_err(failed)?)
        }
    };
    let chain = certificates(cert).map_err(|error| ("cert", error))?;
    let in_key = |error| ("key", error);
    let text = read(key).map_err(in_key)?;
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => in_key(TlsError::NoKey(key.clone())),
        error => in_key(TlsError::NotPem { path: key.clone(), error }),
    })?;
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => in_key(TlsError::Mismatch { key: key.clone(), cert: cert.clone() }),
        rustls::Error::InvalidCertificate(_) => {
            ("cert", TlsError::Certificate { path: cert.clone(), error: error.into() })
        }
        error => in_key(TlsError::Key { path: key.clone(), error: error.into() }),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read_regular(path, files::MAX_SETTINGS)
        .map(files::without_mark)
        .map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| TlsError::NotPem { path: path.to_owned(), error })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}
