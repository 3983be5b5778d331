//! Traces: a collector of OTLP gets the spans of requests, with their parents and attributes.

use std::process::Command;

use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use plimsoll_tests::{Server, guests_config, shared_cache};
use serde_json::json;

use crate::batching;
use crate::collector::{Collector, attribute, children, event, hexadecimal, server_span};
use crate::grpc_calls::{client, images};
use crate::process::{BINARY, PATIENCE, Process, Setup};
use crate::wrapped::until;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";
/// 8 MiB.
const CAP: &str = "max_memory = \"8MiB\"";

/// A server process that exports to `endpoint` soon after each request.
pub(crate) fn serve(setup: &Setup, endpoint: &str, variables: &[(&str, &str)]) -> Process {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", &setup.path("plimsoll.toml")]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    Process::spawn(command.envs(variables.iter().copied()))
}

pub(crate) fn setup() -> Setup {
    let server = format!("cache_dir = {:?}\n[server]\ndrain = \"0s\"\n", shared_cache());
    Setup::with(&(server + &guests_config("tester", CAP)))
}

pub(crate) async fn post(url: &str, query: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().post(format!("{url}/v1/pipelines/p/infer{query}")).body("body");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

pub(crate) async fn metrics(url: &str) -> String {
    reqwest::get(format!("{url}/metrics")).await.expect("an answer").text().await.expect("text")
}

pub(crate) fn spans_with(text: &str, result: &str) -> f64 {
    batching::metric(text, &format!("plimsoll_trace_spans_total{{result=\"{result}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_its_callers_trace_with_a_child_for_each_stage() {
    let collector = Collector::start().await;
    let setup = setup();
    let variables = [
        ("OTEL_SERVICE_NAME", "load line"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=abc"),
    ];
    let process = serve(&setup, &collector.url, &variables);
    let url = process.url();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let state = ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    let own = [("traceparent", parent.as_str()), state, ("x-request-id", "r-1"), ("x-plimsoll-caller", "acme")];
    let reply = post(&url, "", &own).await;
    assert_eq!(reply.status(), 200);
    let response = reply.headers()["traceresponse"].to_str().expect("text").to_owned();

    let spans = collector.wait_for(4).await;
    let span = server_span(&spans);
    assert_eq!((hexadecimal(&span.trace_id).as_str(), hexadecimal(&span.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!(span.trace_state, state.1);
    assert_eq!(response, format!("00-{TRACE}-{}-01", hexadecimal(&span.span_id)));
    assert_eq!(span.name, "POST /v1/pipelines/{pipeline}/infer");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/pipelines/{pipeline}/infer"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("plimsoll.request_id", "r-1"),
        ("plimsoll.pipeline", "p"),
        ("plimsoll.chip", "echo"),
        ("plimsoll.caller", "acme"),
        ("plimsoll.outcome", "ok"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute(&span.attributes, name), value, "{name}");
    }
    let wait = attribute(&event(span, "queue").attributes, "plimsoll.wait_seconds");
    assert!(wait.parse::<f64>().expect("a number") >= 0.0);

    let stages = children(&spans, span);
    let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["preprocess", "infer", "postprocess"]);
    for (stage, plugin) in stages.iter().zip(["tester", "echo-infer", "echo-postprocess"]) {
        let text = |name: &str| attribute(&stage.attributes, name);
        let number = |name: &str| text(name).parse::<u64>().expect("a number");
        assert_eq!((text("plimsoll.stage"), text("plimsoll.plugin.name")), (stage.name.clone(), plugin.to_owned()));
        assert_eq!((text("plimsoll.chip"), text("plimsoll.outcome")), ("echo".into(), "ok".into()));
        assert_eq!((text("plimsoll.plugin.digest").len(), text("plimsoll.plugin.version").is_empty()), (64, false));
        assert!(number("plimsoll.memory.high_water") >= number("plimsoll.memory.initial"));
        assert!(number("plimsoll.memory.cap") > number("plimsoll.memory.high_water"));
    }
    assert_eq!(attribute(&stages[0].attributes, "plimsoll.memory.cap"), (8 << 20).to_string());

    let call = &collector.calls()[0];
    assert_eq!(call.headers["x-api-key"], "abc");
    let resource = call.data.resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name"), "load line");
    assert_eq!(attribute(&resource.attributes, "deployment.environment.name"), "tests");
    assert_eq!(attribute(&resource.attributes, "service.version"), env!("CARGO_PKG_VERSION"));

    // The log line and the buckets of the histograms lead to the trace.
    process.wait_for(&format!("trace={TRACE}"));
    let text = metrics(&url).await;
    for histogram in
        ["request_duration_seconds", "request_queue_seconds", "stage_duration_seconds", "stage_high_water_bytes"]
    {
        let line =
            text.lines().find(|line| line.starts_with(&format!("plimsoll_{histogram}_bucket")) && line.contains('#'));
        let line = line.unwrap_or_else(|| panic!("{histogram} has no exemplar: {text}"));
        assert!(line.contains(&format!("# {{trace_id=\"{TRACE}\"}} ")), "{line}");
    }
    // The exporter counts them when it has read the collector's reply.
    until("four exported spans", async || spans_with(&metrics(&url).await, "exported") == 4.0).await;
    let text = metrics(&url).await;
    assert_eq!((spans_with(&text, "dropped"), spans_with(&text, "failed")), (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_stage_is_an_error_and_a_mistake_of_the_caller_is_not() {
    let collector = Collector::start().await;
    let setup = setup();
    let process = serve(&setup, &collector.url, &[]);
    let url = process.url();
    assert_eq!(post(&url, "?do=panic", &[]).await.status(), 500);
    let spans = collector.wait_for(2).await;
    let span = server_span(&spans);
    assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty());
    let code = |span: &opentelemetry_proto::tonic::trace::v1::Span| span.status.as_ref().map(|status| status.code());
    assert_eq!(code(span), Some(StatusCode::Error));
    assert_eq!(attribute(&span.attributes, "error.type"), "trap");
    assert_eq!(attribute(&span.attributes, "http.response.status_code"), "500");
    let stage = children(&spans, span)[0];
    assert_eq!(
        (code(stage), attribute(&stage.attributes, "plimsoll.outcome")),
        (Some(StatusCode::Error), "trap".into())
    );

    let found = post(&url, "", &[("content-encoding", "br")]).await.status();
    assert_eq!(found, 415);
    let spans = collector.wait_for(3).await;
    assert_ne!(code(&spans[2]), Some(StatusCode::Error));
    assert_eq!(attribute(&spans[2].attributes, "error.type"), "unsupported_media_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sampled_flag_of_the_caller_counts_and_a_malformed_traceparent_does_not() {
    let collector = Collector::start().await;
    let setup = setup();
    // Without a caller's decision nothing is sampled.
    let variables = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let process = serve(&setup, &collector.url, &variables);
    let url = process.url();
    let with = async |value: String| post(&url, "", &[("traceparent", &value)]).await;
    let reply = with(format!("00-{TRACE}-{PARENT}-00")).await;
    let response = reply.headers()["traceresponse"].to_str().expect("text").to_owned();
    assert!(response.starts_with(&format!("00-{TRACE}-")) && response.ends_with("-00"), "{response}");
    for malformed in [format!("00-{TRACE}-{PARENT}-01-x"), format!("ff-{TRACE}-{PARENT}-01"), "x".to_owned()] {
        let reply = with(malformed.clone()).await;
        assert_eq!(reply.status(), 200, "{malformed}");
        assert!(!reply.headers().contains_key("traceresponse"), "{malformed}");
    }
    assert!(!post(&url, "", &[]).await.headers().contains_key("traceresponse"));
    assert_eq!(with(format!("00-{TRACE}-{PARENT}-01")).await.status(), 200);
    let spans = collector.wait_for(4).await;
    assert_eq!(hexadecimal(&server_span(&spans).parent_span_id), PARENT);
    until("four exported spans", async || spans_with(&metrics(&url).await, "exported") == 4.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_a_call_and_its_wait_for_a_batch_are_exported() {
    let collector = Collector::start().await;
    let model = "file = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"2ms\"";
    let telemetry =
        format!("[telemetry]\nendpoint = {:?}\nprotocol = \"grpc\"\nservice_name = \"own\"\n", collector.url);
    let server = Server::start(&(telemetry + &batching::config(model))).await;
    let digit = std::fs::read(plimsoll_tests::data("digits/4.png")).expect("a digit");
    let mut request = tonic::Request::new(images("p", &[&digit], &[]));
    let parent = format!("00-{TRACE}-{PARENT}-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("text"));
    let reply = client(&server).await.model_infer(request).await.expect("an answer");
    assert!(reply.metadata().get("traceresponse").is_some());
    server.app.records.traces.as_ref().expect("on").flush(PATIENCE).await;

    let spans = collector.wait_for(4).await;
    let span = server_span(&spans);
    assert_eq!(hexadecimal(&span.parent_span_id), PARENT);
    assert_eq!(span.name, "inference.GRPCInferenceService/ModelInfer");
    assert_eq!(attribute(&span.attributes, "rpc.system"), "grpc");
    assert_eq!(attribute(&span.attributes, "rpc.method"), "ModelInfer");
    let infer = children(&spans, span)[1];
    let batch = event(infer, "batch");
    assert_eq!(attribute(&batch.attributes, "plimsoll.batch.rows"), "1");
    assert_eq!(attribute(&batch.attributes, "plimsoll.batch.runs"), "1");
    let wait: f64 = attribute(&batch.attributes, "plimsoll.wait_seconds").parse().expect("a number");
    assert!(wait > 0.0, "{wait}");
    let calls = collector.calls();
    let resource = calls[0].data.resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name"), "own");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_several_images_is_one_span_with_a_child_for_each() {
    let collector = Collector::start().await;
    let telemetry = format!("[telemetry]\nendpoint = {:?}\n", collector.url);
    let server = Server::start(&(telemetry + &guests_config("tester", ""))).await;
    let request =
        json!({ "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [3], "data": ["a", "b", "c"] }] });
    let reply = server.infer_json("p", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    server.app.records.traces.as_ref().expect("on").flush(PATIENCE).await;
    let spans = collector.wait_for(1 + 3 * 4).await;
    let span = server_span(&spans);
    assert_eq!(attribute(&span.attributes, "plimsoll.images"), "3");
    let response = reply.headers["traceresponse"].to_str().expect("text");
    assert!(response.contains(&hexadecimal(&span.span_id)), "{response}");
    let images = children(&spans, span);
    let mut indexes: Vec<_> = images.iter().map(|image| attribute(&image.attributes, "plimsoll.image")).collect();
    indexes.sort();
    assert_eq!(indexes, ["0", "1", "2"]);
    for image in images {
        assert_eq!(image.name, "image");
        assert_eq!(children(&spans, image).len(), 3);
    }
    server.stop().await;
}
