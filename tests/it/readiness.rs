//! Readiness says why the server is not ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use plimsoll::serve::grpc::inference::ServerReadyRequest;
use plimsoll_tests::{Server, guests_config};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::grpc_calls::{channel, client};
use crate::wrapped::until;

const READY: &str = "/v2/health/ready";

/// A task that a panic ends is started again, and the server stays ready. If it cannot be started again, the server
/// continues to serve, but says that it must be restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_background_task_that_has_ended_for_good_makes_the_server_not_ready() {
    let server = Server::start(&guests_config("tester", "")).await;
    let count = async |task: &str| {
        let metrics = server.get("/metrics").await.text;
        let name = format!("plimsoll_background_task_panics_total{{task=\"{task}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned))
    };
    let background = server.app.records.background.clone();
    let has_panicked = Arc::new(AtomicBool::new(false));
    let supervised = tokio::spawn(async move {
        let start = || {
            let has_panicked = Arc::clone(&has_panicked);
            async move { assert!(has_panicked.swap(true, Relaxed), "the first start panics, on purpose") }
        };
        background.supervise("restarted", start).await;
    });
    until("the panic", async || count("restarted").await.as_deref() == Some("1")).await;
    assert_eq!(server.get(READY).await.status, 200, "it will be restarted");
    supervised.await.expect("it was started again, and has ended");
    assert_eq!(
        (server.get(READY).await.text.as_str(), count("restarted").await.as_deref()),
        (r#"{"ready":true}"#, Some("1"))
    );

    let running = server.app.records.background.register("ended");
    let thread = std::thread::spawn(move || {
        let _running = running;
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    let reply = server.get(READY).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    let reason = reply.json()["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("`ended`") && reason.contains("restart the server"), "{reason}");
    assert_eq!(count("ended").await.as_deref(), Some("1"));
    let model = server.get("/v2/models/p/ready").await;
    assert_eq!((model.status, model.json()["ready"].as_bool()), (503, Some(false)));
    assert!(!client(&server).await.server_ready(ServerReadyRequest {}).await.expect("a reply").into_inner().ready);
    let mut health = HealthClient::new(channel(&server.grpc_url).await);
    until("grpc.health.v1", async || {
        let status = health.check(HealthCheckRequest::default()).await.expect("a status").into_inner().status();
        status == ServingStatus::NotServing
    })
    .await;
    // It is alive, and serves.
    assert_eq!(server.get("/v2/health/live").await.status, 200);
    assert_eq!(server.infer("p", "", "").await.status, 200);
}
