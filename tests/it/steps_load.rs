//! Pipelines of steps under load: requests with many items beside others, batches of several requests, a leak, and a canary
//! whose items fail.

use std::sync::Arc;

use plimsoll_tests::{Server, guest, shared_cache};
use serde_json::{Value, json};

use crate::batching::metric;
use crate::process::Setup;
use crate::steps_items::{images, wait_for_live, wait_for_no_live};
use crate::steps_pipelines::{GATHER, IN, config, item, rows};

const SPLIT: &str = r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, partial = true, max_items = 1000, config = { split = true } }"#;
const EACH: &str = r#"{ name = "each", kind = "transform", plugin = "transformer", config = { parameter = "each" } }"#;

/// A picture with 1,000 boxes whose items would take more than a minute: small requests are answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_thousand_items_keeps_no_other_request_from_running() {
    let each = EACH.replace("plugin", "deadline = \"10min\", plugin");
    let steps = config("deadline = \"10min\"", &[IN, SPLIT, &each, GATHER]);
    let server = Arc::new(Server::start(&format!("[server]\nmax_concurrency = 2\n{steps}")).await);
    let other = Arc::clone(&server);
    let large = tokio::spawn(async move { other.infer("p", "?each=sleep&ms=1000", rows(1000)).await.status });
    // It has all instances that requests share, and its own.
    wait_for_live(&server, &[("each", 16)]).await;
    for count in 1..=20 {
        let reply = server.infer("p", "", rows(count)).await;
        let items: Value = (0..count).map(item).collect();
        assert_eq!((reply.status, &reply.json()["items"]), (200, &items), "{}", reply.text);
    }
    assert!(!large.is_finished(), "the small requests were answered only after the large one");
    large.abort();
    wait_for_no_live(&server).await;
}

/// Each request has two items and would fill a quarter of a batch, so without shared batches there are at least eight.
#[tokio::test(flavor = "multi_thread")]
async fn the_items_of_several_requests_share_batches() {
    let model = r#"{ name = "model", kind = "infer", plugin = "infer-native", model = "m" }"#;
    let text = format!(
        "[models.m]\nfile = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"2s\"\n{}",
        config("", &[IN, SPLIT, model, GATHER])
    );
    let server = Arc::new(Server::start(&text).await);
    let requests = (0..8_usize).map(|request| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.infer("p", "", images(2 * request..2 * request + 2)).await.json() })
    });
    let mut replies = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        replies.push(request.await.expect("no panic"));
    }
    let text = server.get("/metrics").await.text;
    let batches = metric(&text, "plimsoll_model_batch_rows_count{model=\"m\"}");
    let rows = metric(&text, "plimsoll_model_batch_rows_sum{model=\"m\"}");
    assert!(rows >= 16.0 && batches < 8.0, "{rows} rows in {batches} batches");
    // Each item has the answer that it has alone.
    for (request, reply) in replies.iter().enumerate() {
        for at in 0..2 {
            let seed = 2 * request + at;
            let alone = server.infer("p", "", images(seed..seed + 1)).await.json();
            let data = |item: &Value| -> Vec<f64> {
                let tensors = item["tensors"].as_object().expect("tensors").values();
                let numbers = tensors.flat_map(|it| it["data"].as_array().expect("data").iter());
                numbers.map(|it| it.as_f64().expect("a number")).collect()
            };
            let (one, other) = (data(&reply["items"][at]), data(&alone["items"][0]));
            assert_eq!(one.len(), other.len());
            assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "item {seed}: {one:?} {other:?}");
        }
    }
}

/// Each item of a transformer leaks a megabyte. The marks name the step, and the memory of the server stays as it is: four
/// gigabytes would be lost otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn the_marks_name_a_step_that_leaks_and_nothing_is_lost() {
    let cache = format!("cache_dir = {:?}\n", shared_cache());
    let setup = Setup::with(&(cache + &config("", &[IN, SPLIT, EACH, GATHER])));
    let process = setup.serve();
    let url = process.url();
    let client = reqwest::Client::new();
    let report = async || -> Value {
        let request = client.get(format!("{url}/v1/memory")).bearer_auth(crate::process::TOKEN);
        request.send().await.expect("a reply").json().await.expect("JSON")
    };
    let resident = async || report().await["process"]["resident_bytes"].as_i64().expect("a number");
    let post = async |count: usize| {
        for _ in 0..count {
            let request = client.post(format!("{url}/v1/pipelines/p/infer?each=leak&bytes=1000000"));
            assert_eq!(request.body(rows(4)).send().await.expect("a reply").status(), 200);
        }
    };
    post(200).await;
    let before = resident().await;
    post(800).await;
    let grown = resident().await - before;
    println!("1000 requests of 4 items that leak: {grown} bytes more are resident");
    assert!(grown < 32 << 20, "{grown} bytes");
    let report = report().await;
    let grown = |step: &str| {
        let row = report["stages"].as_array().expect("rows").iter().find(|row| row["stage"] == step).expect("a row");
        row["grown_max"].as_u64().expect("a number")
    };
    assert!(grown("each") > 900_000, "{report}");
    for step in ["in", "split", "out"] {
        assert!(grown(step) < 200_000, "{step}: {report}");
    }
}

/// A new version of a step that runs for each item crashes. The items fail alone and the requests are answered, but the
/// version is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_of_a_step_whose_items_fail_is_rolled_back() {
    let model = r#"{ name = "model", kind = "infer", plugin = "noop-infer" }"#;
    let rules = "canary = { share = \"50%\", requests = 20 }";
    let server = Server::start(&config(rules, &[IN, SPLIT, model, GATHER])).await;
    // It obeys a parameter that the version before ignores.
    let crashes = std::fs::read(guest("echo-infer")).expect("built");
    let put = server.send("PUT", "/v1/plugins/noop-infer", &[], crashes).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let mut failed = 0;
    let rejected = loop {
        let reply = server.infer("p", "?infer=panic", rows(3)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let items = reply.json()["items"].as_array().expect("items").clone();
        failed += items.iter().filter(|item| item["error"]["outcome"] == "trap").count();
        let view = server.get("/v1/plugins/noop-infer").await.json();
        let versions = view["versions"].as_array().expect("versions").clone();
        if let Some(version) = versions.into_iter().find(|version| version["state"] == "refused") {
            break version;
        }
        assert!(failed < 3000, "{view}");
    };
    assert!(failed > 0 && rejected["failures"].as_u64() > Some(0), "{rejected}");
    let reply = server.infer("p", "?infer=panic", rows(2)).await.json();
    assert_eq!(reply["items"], json!([item(0), item(1)]), "the version before serves again");
}
