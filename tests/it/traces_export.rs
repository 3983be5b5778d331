//! The export of traces: a collector that hangs or is gone hurts nothing, the end of the server, and what is not valid.

use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::{guests_config, shared_cache};
use tokio::net::TcpListener;

use crate::collector::Collector;
use crate::process::{BINARY, PATIENCE, Process, Setup};
use crate::traces::{PARENT, TRACE, metrics, post, serve, setup, spans_with};
use crate::wrapped::TOKEN;

/// A collector that takes connections and never answers.
async fn hanging() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok(connection) = listener.accept().await {
            open.push(connection);
        }
    });
    (url, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_delays_no_request_and_no_stop() {
    for protocol in ["http/protobuf", "grpc"] {
        let (endpoint, _task) = hanging().await;
        let setup = setup();
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_BSP_MAX_QUEUE_SIZE", "8")];
        let mut process = serve(&setup, &endpoint, &variables);
        let url = process.url();
        for _ in 0..20 {
            assert_eq!(post(&url, "", &[]).await.status(), 200);
        }
        // Two requests fit into the queue.
        let text = metrics(&url).await;
        assert_eq!((spans_with(&text, "dropped"), spans_with(&text, "exported")), (72.0, 0.0), "{protocol}");
        process.signal("-TERM");
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_is_logged_once_and_its_return_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let setup = setup();
    let process = serve(&setup, &format!("http://{address}"), &[]);
    let url = process.url();
    let until = Instant::now() + PATIENCE;
    let mut requests = 0.0;
    while spans_with(&metrics(&url).await, "failed") < 8.0 {
        assert!(Instant::now() < until, "nothing fails");
        assert_eq!(post(&url, "", &[]).await.status(), 200);
        requests += 1.0;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = process.wait_for("traces are lost");
    assert_eq!(log.matches("traces are lost").count(), 1, "{log}");
    assert!(requests >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_traces_are_exported_when_the_server_stops() {
    let collector = Collector::start().await;
    let setup = setup();
    let mut process = serve(&setup, &collector.url, &[("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
    assert_eq!(post(&process.url(), "", &[]).await.status(), 200);
    assert_eq!(collector.spans().len(), 0);
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
    assert_eq!(collector.spans().len(), 4);
}

#[test]
fn a_setting_that_is_not_valid_ends_the_start_with_its_name() {
    let setup = setup();
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("PLIMSOLL_TELEMETRY__SHARE", "150%"),
    ] {
        let mut process = serve(&setup, "http://127.0.0.1:9", &[(name, value)]);
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(64), "{log}");
        let wanted = if name.starts_with("PLIMSOLL") { "telemetry.share" } else { name };
        assert!(log.contains(wanted) || log.contains(value), "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_traces_are_off() {
    let setup = setup();
    let process = serve(&setup, "", &[]);
    let url = process.url();
    let reply = post(&url, "", &[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]).await;
    assert_eq!(reply.status(), 200);
    assert!(!reply.headers().contains_key("traceresponse"));
    let text = metrics(&url).await;
    assert!(!text.contains("trace_id") && !text.contains("plimsoll_trace_spans_total{"), "{text}");
}

/// A password in the address of the collector is refused and not shown; nor is it shown while traces are off.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_address_of_the_collector_is_never_shown() {
    let endpoint = "http://me:hunter2@collector.invalid:4318";
    let text = format!("cache_dir = {:?}\n[telemetry]\nendpoint = {endpoint:?}\n", shared_cache());
    let setup = Setup::with(&(text + &guests_config("tester", "")));
    let start = |disabled: &str| {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", &setup.path("plimsoll.toml")]);
        Process::spawn(command.env("OTEL_SDK_DISABLED", disabled))
    };
    let (code, log) = start("false").wait_for_exit();
    assert_ne!(code, Some(0), "{log}");
    assert!(log.contains("OTEL_EXPORTER_OTLP_HEADERS") && !log.contains("hunter2"), "{log}");
    let mut process = start("true");
    let request = reqwest::Client::new().get(format!("{}/v1/config", process.url())).bearer_auth(TOKEN);
    let reply = request.send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    let shown = reply.text().await.expect("text");
    assert!(shown.contains("collector.invalid:4318") && !shown.contains("hunter2"), "{shown}");
    process.signal("-INT");
    let (_, log) = process.wait_for_exit();
    assert!(!log.contains("hunter2"), "{log}");
}

/// Callers decide which requests are sampled, but not for more of them than the collector is meant for.
#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_have_any_number_of_requests_sampled() {
    let collector = Collector::start().await;
    let text = format!("cache_dir = {:?}\n[server]\ndrain = \"0s\"\n", shared_cache());
    let telemetry = "[telemetry]\nshare = \"0%\"\ncaller_rate = 1\n";
    let setup = Setup::with(&(text + telemetry + &guests_config("tester", "")));
    let process = serve(&setup, &collector.url, &[]);
    let url = process.url();
    let (parent, mut sampled) = (format!("00-{TRACE}-{PARENT}-01"), 0);
    for _ in 0..100 {
        let reply = post(&url, "", &[("traceparent", parent.as_str())]).await;
        assert_eq!(reply.status(), 200);
        let response = reply.headers()["traceresponse"].to_str().expect("text").to_owned();
        sampled += usize::from(response.ends_with("-01"));
    }
    let limited = spans_with(&metrics(&url).await, "limited");
    assert!((1..100).contains(&sampled), "{sampled}");
    assert_eq!(limited, (100 - sampled) as f64);
    // Each has four spans.
    collector.wait_for(4 * sampled).await;
}
