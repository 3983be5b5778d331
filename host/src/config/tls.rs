//! `[tls]`: the certificate of the server.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[tls]`. Applies to every port; unix sockets are not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The file with the certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// The file with the private key, in PEM.
    pub key: PathBuf,
    /// The file with the certificates of the authorities that issue client certificates, in PEM. If it is set, a client
    /// without such a certificate is refused.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}
