//! Fair shares of slots and queue for pipelines, and limits for callers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, guests_config};
use tokio::task::JoinSet;
use tonic::{Code, Request};

use crate::grpc_calls::{client, images, problem};

/// Pipeline `p` of the guests, and the same as pipeline `q`.
fn two_pipelines(server: &str, of_p: &str) -> String {
    let guests = guests_config("tester", "");
    let start = guests.find("[pipelines.p.preprocess]").expect("pipeline p");
    let q = guests[start..].replace("pipelines.p.", "pipelines.q.");
    format!("[server]\n{server}\n{guests}{q}[pipelines.p]\n{of_p}\n")
}

/// Starts requests of pipeline `p` that sleep.
fn sleepers(server: &Arc<Server>, count: usize) -> JoinSet<u16> {
    requests(server, count, "?do=sleep&ms=60000")
}

/// Starts requests of pipeline `p`.
fn requests(server: &Arc<Server>, count: usize, query: &'static str) -> JoinSet<u16> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let server = Arc::clone(server);
        tasks.spawn(async move { server.infer("p", query, "").await.status });
    }
    tasks
}

/// Waits until `wanted` stages of pipeline `p` run.
async fn wait_for_live(server: &Server, wanted: usize) {
    let until = Instant::now() + Duration::from_secs(20);
    let start = "plimsoll_stage_live_instances{pipeline=\"p\",stage=\"preprocess\"";
    loop {
        let metrics = server.get("/metrics").await.text;
        let line = metrics.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        if line.ends_with(&format!(" {wanted}")) {
            return;
        }
        assert!(Instant::now() < until, "expected {wanted} live stages: {line}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_pipeline_leaves_slots_for_the_others() {
    let server = Arc::new(Server::start(&two_pipelines("max_concurrency = 4\nmax_queue = 4", "")).await);
    let mut slow = sleepers(&server, 12);
    wait_for_live(&server, 3).await;
    // Eight places are for both pipelines; `p` has six of them, so the other six of its requests are refused.
    for _ in 0..6 {
        assert_eq!(slow.join_next().await.expect("a reply").expect("no panic"), 503);
    }
    for _ in 0..8 {
        let reply = server.infer("q", "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    wait_for_live(&server, 3).await;
}

/// More guests than cores compute without an end. The other pipeline still gets cores: its requests end before the
/// deadline of the first ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_computes_leaves_cores_for_the_others() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let places = 4 * cores;
    let config = two_pipelines(&format!("max_concurrency = {places}\nmax_queue = {places}"), "deadline = \"10m\"");
    let config = config.replace("plugin = \"tester\"\n", "plugin = \"tester\"\ndeadline = \"10m\"\n");
    let server = Arc::new(Server::start(&config).await);
    let mut busy = requests(&server, places, "?do=loop");
    // A quarter of the places is for the other pipeline.
    let running = 3 * cores;
    wait_for_live(&server, running).await;
    for _ in 0..20 {
        let reply = server.infer("q", "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    wait_for_live(&server, running).await;
    busy.abort_all();
    while busy.join_next().await.is_some() {}
    wait_for_live(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_pipeline_has_all_slots() {
    let config = format!("[server]\nmax_concurrency = 4\nmax_queue = 0\n{}", guests_config("tester", ""));
    let server = Arc::new(Server::start(&config).await);
    let _slow = sleepers(&server, 4);
    wait_for_live(&server, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_may_set_its_own_limits() {
    let config = two_pipelines("max_concurrency = 4", "max_concurrency = 1\nmax_queue = 0");
    let server = Arc::new(Server::start(&config).await);
    let _slow = sleepers(&server, 1);
    wait_for_live(&server, 1).await;
    let reply = server.infer("p", "", "").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "overloaded"), "{}", reply.text);
    assert!(reply.text.contains("pipelines.p.max_queue"), "{}", reply.text);
    assert_eq!(server.infer("q", "", "").await.status, 200);
    let refused = Server::rejection(&two_pipelines("", "max_concurrency = 0")).await;
    assert!(refused.contains("pipelines.p.max_concurrency"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_at_its_limit_is_told_when_to_try_again() {
    let path = "/v1/pipelines/p/infer";
    let config = format!("[server]\nmax_caller_rate = 0.01\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let ask = async |path: &str, caller: &str| {
        let body = br#"{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","data":["x"]}]}"#.to_vec();
        server.send("POST", path, &[("x-plimsoll-caller", caller)], body).await
    };
    for path in [path, "/v2/models/p/infer"] {
        assert_eq!(ask(path, path).await.status, 200);
        let reply = ask(path, path).await;
        assert_eq!(reply.status, 429, "{}", reply.text);
        assert_eq!(reply.json()["code"], "too_many_requests");
        assert!(reply.text.contains("server.max_caller_rate"), "{}", reply.text);
        let seconds: u32 = reply.headers["retry-after"].to_str().expect("text").parse().expect("a number");
        assert!((90..=100).contains(&seconds), "{seconds}");
    }
    assert_eq!(ask(path, "another").await.status, 200);

    let config = format!("[server]\nmax_caller_concurrency = 1\n{}", guests_config("tester", ""));
    let server = Arc::new(Server::start(&config).await);
    let mut slow = sleepers(&server, 1);
    wait_for_live(&server, 1).await;
    let reply = server.infer("p", "", "").await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert!(reply.text.contains("server.max_caller_concurrency"), "{}", reply.text);
    assert_eq!(server.send("POST", path, &[("x-plimsoll-caller", "b")], Vec::new()).await.status, 200);
    slow.abort_all();
    while slow.join_next().await.is_some() {}
    let until = Instant::now() + Duration::from_secs(10);
    while server.infer("p", "", "").await.status != 200 {
        assert!(Instant::now() < until, "the caller's place is not free again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_grpc_at_its_limit_is_refused_too() {
    let config = format!("[server]\nmax_caller_rate = 0.01\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let mut client = client(&server).await;
    let mut ask = async |caller: &'static str| {
        let mut request = Request::new(images("p", &[b"x"], &[]));
        request.metadata_mut().insert("x-plimsoll-caller", caller.parse().expect("ASCII"));
        client.model_infer(request).await
    };
    ask("one").await.expect("an answer");
    let status = ask("one").await.expect_err("one request in 100 s");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("server.max_caller_rate"), "{status:?}");
    assert!(status.message().contains("try again in"), "{status:?}");
    assert_eq!(problem(&status)["code"], "too_many_requests");
    ask("another").await.expect("an answer");
}
