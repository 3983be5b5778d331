//! For tests: a collector of OTLP, over HTTP and gRPC on one port, that keeps the spans.

use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;

/// How long a test waits for spans that should come soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A collector on a free port of the loopback interface.
pub(crate) struct Collector {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    kept: Kept,
}

/// What the collector got.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Exported>>>);

/// One call of the collector.
#[derive(Clone)]
pub(crate) struct Exported {
    /// The headers, or the metadata.
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) data: TracesData,
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        let data = TracesData { resource_spans: request.into_inner().resource_spans };
        self.0.lock().expect("no panic").push(Exported { headers, data });
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Kept {
    async fn over_http(self, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        let headers = request.headers().clone();
        let mut body = request.into_body().collect().await.expect("a body").to_bytes();
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut decoded).expect("gzip");
            body = decoded.into();
        }
        let data = ExportTraceServiceRequest::decode(body).expect("a message of OTLP");
        let data = TracesData { resource_spans: data.resource_spans };
        self.0.lock().expect("no panic").push(Exported { headers, data });
        Ok(hyper::Response::new(Full::new(ExportTraceServiceResponse::default().encode_to_vec().into())))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let kept = Kept::default();
        let keeps = kept.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = keeps.clone();
                tokio::spawn(async move {
                    let mut first = [0; 3];
                    stream.peek(&mut first).await.expect("bytes");
                    let server = auto::Builder::new(TokioExecutor::new());
                    let stream = TokioIo::new(stream);
                    // The exporter uses HTTP/2 for gRPC only.
                    if &first == b"PRI" {
                        let service = TraceServiceServer::new(kept).accept_compressed(CompressionEncoding::Gzip);
                        let service = TowerToHyperService::new(service);
                        let _ = server.serve_connection(stream, service).await;
                    } else {
                        let service = hyper::service::service_fn(move |request| kept.clone().over_http(request));
                        let _ = server.serve_connection(stream, service).await;
                    }
                });
            }
        });
        Self { url, kept }
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Exported> {
        self.kept.0.lock().expect("no panic").clone()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self.calls().into_iter().flat_map(|call| call.data.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Waits until there are so many spans.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Span> {
        let until = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if spans.len() >= count {
                assert_eq!(spans.len(), count, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
                return spans;
            }
            assert!(Instant::now() < until, "{} of {count} spans came", spans.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The spans below another, by their start.
pub(crate) fn children<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    let mut children: Vec<_> = spans.iter().filter(|span| span.parent_span_id == parent.span_id).collect();
    children.sort_by_key(|span| span.start_time_unix_nano);
    for child in &children {
        assert_eq!(child.trace_id, parent.trace_id, "{}", child.name);
        assert_eq!(child.kind(), SpanKind::Internal, "{}", child.name);
        assert_eq!(child.trace_state, parent.trace_state);
        assert!(child.start_time_unix_nano >= parent.start_time_unix_nano, "{}", child.name);
        assert!(child.end_time_unix_nano <= parent.end_time_unix_nano, "{}", child.name);
        assert!(child.start_time_unix_nano <= child.end_time_unix_nano, "{}", child.name);
    }
    children
}

/// The only span of a request of a caller.
pub(crate) fn server_span(spans: &[Span]) -> &Span {
    let servers: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Server).collect();
    assert_eq!(servers.len(), 1, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    servers[0]
}

/// An attribute as text; empty if it is missing.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()) {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        Some(AnyValue { value: Some(Value::DoubleValue(number)) }) => number.to_string(),
        other => {
            assert!(other.is_none(), "{name}: {other:?}");
            String::new()
        }
    }
}

/// An event of a span.
pub(crate) fn event<'a>(span: &'a Span, name: &str) -> &'a Event {
    let event = span.events.iter().find(|event| event.name == name);
    let event = event.unwrap_or_else(|| panic!("{} has no event {name}: {:?}", span.name, span.events));
    assert!((span.start_time_unix_nano..=span.end_time_unix_nano).contains(&event.time_unix_nano), "{name}");
    event
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
