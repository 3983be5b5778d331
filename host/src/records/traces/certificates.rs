//! The certificates for an encrypted connection to the collector.

use reqwest::{Certificate, ClientBuilder, Identity};
use tonic::transport::ClientTlsConfig;

use super::settings::{NamedFile, TraceFiles};

/// What the files contain. Without authorities, those of the system count.
pub(super) struct Certificates {
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// The reason, with the variable that names the file.
    pub(super) fn read(files: &TraceFiles) -> Result<Self, String> {
        let authorities = files.authorities.as_ref().map(|file| contents(file, "CERTIFICATE-----")).transpose()?;
        let identity = match &files.identity {
            Some((certificate, key)) => {
                Some((contents(certificate, "CERTIFICATE-----")?, contents(key, "PRIVATE KEY-----")?))
            }
            None => None,
        };
        Ok(Self { authorities, identity })
    }

    /// Returns true if there are any files.
    pub(super) fn are_given(&self) -> bool {
        self.authorities.is_some() || self.identity.is_some()
    }

    /// Adds them to a client of HTTP.
    ///
    /// # Errors
    /// If they are damaged.
    pub(super) fn for_http(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        let damaged = |error: reqwest::Error| format!("a certificate or key for it is damaged: {error}");
        if let Some(authorities) = &self.authorities {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(authorities).map_err(damaged)?);
        }
        if let Some((certificate, key)) = &self.identity {
            let both = [certificate.as_slice(), b"\n", key].concat();
            builder = builder.identity(Identity::from_pem(&both).map_err(damaged)?);
        }
        Ok(builder)
    }

    /// The same for gRPC.
    pub(super) fn for_grpc(&self) -> ClientTlsConfig {
        let config = match &self.authorities {
            Some(authorities) => {
                ClientTlsConfig::new().ca_certificate(tonic::transport::Certificate::from_pem(authorities))
            }
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        match &self.identity {
            Some((certificate, key)) => config.identity(tonic::transport::Identity::from_pem(certificate, key)),
            None => config,
        }
    }
}

/// The contents of a file in PEM that has such a part.
fn contents(file: &NamedFile, part: &str) -> Result<Vec<u8>, String> {
    let NamedFile { variable, path } = file;
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{variable}: {shown} cannot be read: {error}"))?;
    match bytes.windows(part.len()).any(|window| window == part.as_bytes()) {
        true => Ok(bytes),
        false => Err(format!("{variable}: {shown} has no line `-----BEGIN … {part}`: it must be in PEM")),
    }
}
