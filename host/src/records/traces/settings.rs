//! How traces are exported.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sampler::Sampler;

/// The protocol of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TraceProtocol {
    /// Protobuf over HTTP; usually on port 4318.
    #[serde(rename = "http/protobuf")]
    Http,
    /// gRPC; usually on port 4317.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How traces are exported. The transport reads its headers from the variables of OpenTelemetry.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The address of the collector, with its path over HTTP.
    pub endpoint: String,
    /// The protocol.
    pub protocol: TraceProtocol,
    /// The files of certificates for an encrypted connection.
    pub files: TraceFiles,
    /// Whether calls of the collector are compressed, with gzip.
    pub is_compressed: bool,
    /// Which requests are sampled.
    pub sampler: Sampler,
    /// The name of the service; `None` if the variables of OpenTelemetry have it, or the default.
    pub service_name: Option<String>,
    /// The most spans that wait.
    pub max_queue: usize,
    /// The most spans of one call of the collector.
    pub max_batch: usize,
    /// How long spans wait for others.
    pub delay: Duration,
    /// The most time of one call of the collector, with its repetitions.
    pub timeout: Duration,
}

/// The files of certificates for the connection to the collector, in PEM.
#[derive(Debug, Clone, Default)]
pub struct TraceFiles {
    /// The authorities that may have issued the collector's certificate; `None`: those of the system.
    pub authorities: Option<NamedFile>,
    /// The certificate of this server, with its key, for a collector that asks for one.
    pub identity: Option<(NamedFile, NamedFile)>,
}

/// A file that a variable names.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// The variable.
    pub variable: String,
    /// The file.
    pub path: PathBuf,
}
