//! The connection to the collector: OTLP over HTTP or gRPC.

use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Compression, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;

use super::certificates::Certificates;
use super::settings::{TraceProtocol, TraceSettings};

/// The name of the service if nothing names it.
const SERVICE_NAME: &str = "plimsoll";
/// Beginning of the name that the SDK uses if nothing names it.
const UNKNOWN: &str = "unknown_service";

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The settings of the collector.
    #[error("traces cannot be exported to `{endpoint}`: {reason}")]
    Collector {
        /// The address of the collector.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The system refuses the thread.
    #[error("traces cannot be exported: the system refuses a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Connects when the first spans are exported. Call it in the runtime that exports.
pub(super) fn connect(settings: &TraceSettings) -> Result<SpanExporter, TransportError> {
    let TraceSettings { endpoint, protocol, timeout, .. } = settings;
    let failed = |reason: String| TransportError::Collector { endpoint: endpoint.clone(), reason };
    let is_encrypted = endpoint.starts_with("https://");
    if !is_encrypted && !endpoint.starts_with("http://") {
        return Err(failed("write its address as http://HOST:PORT or https://HOST:PORT".to_owned()));
    }
    // The address is printed and logged.
    let authority = endpoint.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
    if authority.contains('@') {
        let reason = "its address has a name or password; put it into OTEL_EXPORTER_OTLP_HEADERS".to_owned();
        return Err(TransportError::Collector { endpoint: "of the traces".to_owned(), reason });
    }
    let certificates = Certificates::read(&settings.files).map_err(failed)?;
    let builder = SpanExporter::builder();
    let built = match protocol {
        TraceProtocol::Http => {
            let client = client(is_encrypted.then_some(&certificates), *timeout).map_err(failed)?;
            let builder = builder.with_http().with_http_client(client).with_endpoint(endpoint).with_timeout(*timeout);
            match settings.is_compressed {
                true => WithHttpConfig::with_compression(builder, Compression::Gzip).build(),
                false => builder.build(),
            }
        }
        TraceProtocol::Grpc => {
            let mut builder = builder.with_tonic().with_endpoint(endpoint).with_timeout(*timeout);
            if settings.is_compressed {
                builder = WithTonicConfig::with_compression(builder, Compression::Gzip);
            }
            match is_encrypted {
                true => builder.with_tls_config(certificates.for_grpc()).build(),
                false => builder.build(),
            }
        }
    };
    let mut exporter = built.map_err(|error| failed(error.to_string()))?;
    exporter.set_resource(&resource(settings));
    Ok(exporter)
}

/// A client of HTTP. `certificates` are those of an encrypted connection.
fn client(certificates: Option<&Certificates>, timeout: Duration) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    let builder = match certificates {
        Some(certificates) => certificates.for_http(builder)?,
        // A machine without CA certificates can use plain HTTP.
        None => builder.tls_certs_only([]),
    };
    builder.build().map_err(|error| match certificates {
        Some(certificates) if certificates.are_given() => format!("a connection with its certificates fails: {error}"),
        Some(_) => format!(
            "it needs CA certificates, and none can be used ({error}): install the package `ca-certificates`, or name a file \
             of certificates in the variable OTEL_EXPORTER_OTLP_CERTIFICATE or SSL_CERT_FILE"
        ),
        None => error.to_string(),
    })
}

/// What describes this process. The variables of OpenTelemetry may add to it.
fn resource(settings: &TraceSettings) -> Resource {
    let known = Resource::builder().build();
    let given = known.get(&Key::new("service.name")).map(|name| name.to_string());
    let name = settings.service_name.clone().or(given.filter(|name| !name.starts_with(UNKNOWN)));
    let instance = known.get(&Key::new("service.instance.id")).map(|id| id.to_string());
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| SERVICE_NAME.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            instance.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        ))
        .build()
}
