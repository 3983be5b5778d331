//! How traces are exported.

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

/// How traces are exported. The variables of OpenTelemetry are the defaults of the transport: its headers, its time-out and
/// its compression.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The address of the collector, with its path over HTTP.
    pub endpoint: String,
    /// The protocol.
    pub protocol: TraceProtocol,
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
