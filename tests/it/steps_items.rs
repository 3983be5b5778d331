//! Items: what runs at the same time, batches, items that fail, and transformers that misbehave.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_tests::Server;
use serde_json::json;

use crate::batching::metric;
use crate::steps_pipelines::{GATHER, IN, body, config, item, rows, server};

const SPLIT: &str =
    r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
const EACH: &str = r#"{ name = "each", kind = "transform", plugin = "transformer", config = { parameter = "each" } }"#;

/// Waits until stages of these names are live at the same time, at least so many of each.
pub(crate) async fn wait_for_live(server: &Server, wanted: &[(&str, i64)]) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let live = server.get("/v1/memory").await.json()["live"].clone();
        let of = |stage: &str| {
            let rows = live.as_array().expect("a list").iter();
            rows.filter(|row| row["stage"] == stage).filter_map(|row| row["instances"].as_i64()).sum::<i64>()
        };
        if wanted.iter().all(|(stage, count)| of(stage) >= *count) {
            return;
        }
        assert!(std::time::Instant::now() < until, "never at the same time: {wanted:?}; {live}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_and_items_run_at_the_same_time() {
    let branch = |name: &str| {
        format!(
            r#"{{ name = "{name}", kind = "transform", plugin = "transformer", from = ["in"], config = {{ parameter = "{name}", rename = "{name}" }} }}"#
        )
    };
    let out = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess", from = ["a", "b"] }"#;
    let branches = Arc::new(server(&[IN, &branch("a"), &branch("b"), out]).await);
    let other = Arc::clone(&branches);
    let request = tokio::spawn(async move { other.infer("p", "?a=sleep&b=sleep&ms=4000", rows(1)).await });
    wait_for_live(&branches, &[("a", 1), ("b", 1)]).await;
    let reply = request.await.expect("no panic");
    assert_eq!(reply.json()["tensors"][1], json!({ "name": "b", "shape": [1, 2], "bytes": 8 }), "{}", reply.text);
    let memory = reply.headers["x-plimsoll-memory"].to_str().expect("text").to_owned();
    assert_eq!(memory.matches('=').count(), 4, "each step has one mark: {memory}");

    let items = Arc::new(server(&[IN, SPLIT, EACH, GATHER]).await);
    let other = Arc::clone(&items);
    let request = tokio::spawn(async move { other.infer("p", "?each=sleep&ms=4000", rows(8)).await });
    wait_for_live(&items, &[("each", 8)]).await;
    let reply = request.await.expect("no panic");
    assert_eq!(reply.json()["items"], (0..8).map(item).collect::<serde_json::Value>(), "{}", reply.text);
    wait_for_no_live(&items).await;
}

/// Waits until no stage runs.
pub(crate) async fn wait_for_no_live(server: &Server) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let report = server.get("/v1/memory").await.json();
        let live = report["live"].as_array().expect("a list").iter().filter(|row| row["instances"] != 0).count();
        if live == 0 && report["pool"]["component_instances"] == 0 {
            return;
        }
        assert!(std::time::Instant::now() < until, "instances stay: {report}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A caller that goes away in the middle of its items: every run ends, and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn the_items_of_a_caller_that_goes_away_end_and_are_counted() {
    let server = Arc::new(server(&[IN, SPLIT, EACH, GATHER]).await);
    let other = Arc::clone(&server);
    let request = tokio::spawn(async move { other.infer("p", "?each=sleep&ms=30000", rows(6)).await });
    wait_for_live(&server, &[("each", 6)]).await;
    request.abort();
    wait_for_no_live(&server).await;
    let row = server.memory_row("each", "cancelled").await.expect("a row");
    assert_eq!(row["count"], 6, "{row}");
    assert_eq!(server.infer("p", "", rows(2)).await.status, 200);
}

/// A body with an image for each seed.
pub(crate) fn images(seeds: std::ops::Range<usize>) -> Vec<u8> {
    let image = |seed: usize| (0..64).map(move |at| ((at * 7 + seed * 13) % 11) as f32 / 10.0);
    let count = seeds.len();
    let values: Vec<f32> = seeds.flat_map(image).collect();
    body(&[("image", &[count, 1, 8, 8], &values)])
}

/// The items of one request share batches; `steps_load` has those of several.
#[tokio::test(flavor = "multi_thread")]
async fn items_share_batches() {
    let model = r#"{ name = "model", kind = "infer", plugin = "infer-native", model = "m" }"#;
    let text = format!(
        "[models.m]\nfile = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"500ms\"\n{}",
        config("", &[IN, SPLIT, model, GATHER])
    );
    let server = Arc::new(Server::start(&text).await);
    let reply = server.infer("p", "", images(0..16)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let text = server.get("/metrics").await.text;
    let batches = metric(&text, "plimsoll_model_batch_rows_count{model=\"m\"}");
    let rows = metric(&text, "plimsoll_model_batch_rows_sum{model=\"m\"}");
    assert!(rows >= 16.0 && batches <= 4.0, "{rows} rows in {batches} batches");
    // Each item has the answer that it has alone.
    for (seed, item) in reply.json()["items"].as_array().expect("items").iter().enumerate() {
        let alone = server.infer("p", "", images(seed..seed + 1)).await.json();
        let data = |item: &serde_json::Value| -> Vec<f64> {
            let tensors = item["tensors"].as_object().expect("tensors").values();
            tensors.flat_map(|it| it["data"].as_array().expect("data").clone()).filter_map(|it| it.as_f64()).collect()
        };
        let (one, other) = (data(item), data(&alone["items"][0]));
        assert_eq!(one.len(), other.len());
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "item {seed}: {one:?} {other:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fails_fails_the_request_or_becomes_an_error_of_its_own() {
    let whole = server(&[IN, SPLIT, EACH, GATHER]).await;
    for (command, code) in [("panic", "trap"), ("fail", "invalid_input"), ("loop&deadline", "deadline")] {
        let each = EACH.replace("plugin", "deadline = \"3s\", plugin");
        let timed = if command.starts_with("loop") { Some(server(&[IN, SPLIT, &each, GATHER]).await) } else { None };
        let reply = timed.as_ref().unwrap_or(&whole).infer("p", &format!("?each={command}&at=3"), rows(6)).await;
        let problem = reply.json();
        assert_eq!((reply.code().as_str(), &problem["item"], &problem["stage"]), (code, &json!(3), &json!("each")));
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.starts_with("item 3, step `each`: "), "{detail}");
    }
    // The numbers of a limit are those of the run that failed, not of another one at the same time.
    let limited = server(&[IN, SPLIT, &EACH.replace("plugin", "max_memory = \"64MiB\", plugin"), GATHER]).await;
    let problem = limited.infer("p", "?each=grow&at=5", rows(9)).await.json();
    assert_eq!((&problem["code"], &problem["item"]), (&json!("memory_limit"), &json!(5)), "{problem}");
    assert!(problem["high_water_bytes"].as_u64().expect("a number") > 60 << 20, "{problem}");
    // If all items fail, the first one is the error.
    for _ in 0..5 {
        assert_eq!(whole.infer("p", "?each=fail", rows(9)).await.json()["item"], 0);
    }
    let split = SPLIT.replace("items = true", "items = true, partial = true");
    let partial = server(&[IN, &split, EACH, GATHER]).await;
    let reply = partial.infer("p", "?each=panic&at=1", rows(3)).await.json();
    let error = &reply["items"][1]["error"];
    assert_eq!((&error["step"], &error["outcome"]), (&json!("each"), &json!("trap")), "{reply}");
    assert!(error["message"].as_str().expect("text").starts_with("the plugin crashed"), "{reply}");
    assert_eq!(reply["items"][1]["context"], "item 1 of 7", "the item is still known by its context");
    assert_eq!((&reply["items"][0], &reply["items"][2]), (&item(0), &item(2)), "the others are answered");
    let row = partial.memory_row("each", "trap").await.expect("a row");
    assert_eq!(row["count"], 1, "{row}");
}

/// At the deadline of the request its items end; those that have not begun are not counted as runs that failed.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_have_not_begun_at_the_deadline_do_not_run() {
    let split = SPLIT.replace("items = true", "items = true, partial = true");
    let server = Server::start(&config("deadline = \"3s\"", &[IN, &split, EACH, GATHER])).await;
    let reply = server.infer("p", "?each=sleep&ms=60000", rows(64)).await;
    assert_eq!((reply.status, reply.code().as_str()), (504, "deadline"), "{}", reply.text);
    assert_eq!(reply.json()["stage"], "each", "{}", reply.text);
    wait_for_no_live(&server).await;
    let row = server.memory_row("each", "deadline").await.expect("a row");
    assert!(row["count"].as_u64().expect("a number") <= 20, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transformers_that_misbehave_fail_their_request_and_harm_nothing() {
    let split = SPLIT.replace("items = true", "items = true, max_items = 20, max_memory = \"64MiB\"");
    let last = r#"{ name = "last", kind = "transform", plugin = "transformer", config = { parameter = "last" }, deadline = "3s" }"#;
    let server = server(&[IN, &split, EACH, last, GATHER]).await;
    let cases = [
        ("?transform=items&count=21", "output_limit", "21 items were returned, 20 are allowed (`max_items`)"),
        ("?transform=items&count=1000000", "output_limit", ""),
        ("?transform=one", "internal", "declares `items = true`"),
        ("?each=items&count=2", "internal", "does not declare `items = true`"),
        ("?each=twice", "internal", "item 0, step `each`: the plugin returned two tensors `x`"),
        ("?last=loop", "deadline", "deadline"),
        ("?transform=grow", "memory_limit", "67108864"),
        ("?transform=panic", "trap", "crashed"),
        ("?each=big-context&bytes=17000000", "output_limit", "max_output"),
    ];
    for (query, code, words) in cases {
        let reply = server.infer("p", query, rows(2)).await;
        assert_eq!(reply.code(), code, "{query}: {}", reply.text);
        assert!(reply.json()["detail"].as_str().expect("text").contains(words), "{query}: {}", reply.text);
        assert_eq!(server.infer("p", "", rows(2)).await.json()["items"][1], item(1), "after {query}");
    }
    // Together the items have more tensors than an instance may hold.
    let reply = server.infer("p", "?each=names&count=1500&len=8", rows(20)).await;
    let problem = reply.json();
    assert_eq!((reply.code().as_str(), &problem["stage"]), ("output_limit", &json!("out")), "{}", reply.text);
    assert!(
        problem["detail"].as_str().expect("text").contains("the step gathers 30000 tensors, 20000 are"),
        "{problem}"
    );
    // Items without tensors go through a step that passes them on.
    let reply = server.infer("p", "?transform=items&count=20", rows(1)).await.json();
    assert_eq!(reply["items"].as_array().map(Vec::len), Some(20), "{reply}");
    wait_for_no_live(&server).await;
}

/// All instances and tensors of a request have a limit together, beside the caps of its steps.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_request_is_limited() {
    let steps = [IN, SPLIT, EACH, GATHER];
    let server = Server::start(&config("max_request_memory = \"24MiB\"", &steps)).await;
    let problem = server.infer("p", "?each=grow&at=2", rows(4)).await.json();
    assert_eq!((&problem["code"], &problem["limit_bytes"]), (&json!("memory_limit"), &json!(24 << 20)), "{problem}");
    assert!(problem["detail"].as_str().expect("text").contains("`max_request_memory`"), "{problem}");
    // The contexts of the items are counted, too, while they wait for each other.
    let problem = server.infer("p", "?each=big-context&bytes=3000000", rows(16)).await.json();
    assert_eq!((&problem["code"], &problem["limit_bytes"]), (&json!("memory_limit"), &json!(24 << 20)), "{problem}");
    // So are the names of their tensors: 200 items with 1.2 MB of names each.
    let many = SPLIT.replace("items = true", "items = true, max_items = 200");
    let limit = "max_request_memory = \"160MiB\"\ndeadline = \"5min\"";
    let named = Server::start(&config(limit, &[IN, &many, EACH, GATHER])).await;
    let problem = named.infer("p", "?each=names&count=1200&len=1000", rows(200)).await.json();
    assert_eq!((&problem["code"], &problem["limit_bytes"]), (&json!("memory_limit"), &json!(160 << 20)), "{problem}");
    // Each request has the limit for itself, and what a step no longer needs is free again.
    for count in [1, 40, 64, 64] {
        let reply = server.infer("p", "", rows(count)).await;
        assert_eq!(reply.json()["items"].as_array().map(Vec::len), Some(count), "{}", reply.text);
    }
    // Without the limit the cap of the step is met.
    let unlimited = Server::start(&config("max_request_memory = \"4GiB\"", &steps)).await;
    let problem = unlimited.infer("p", "?each=grow&at=2", rows(4)).await.json();
    assert_eq!((&problem["code"], &problem["limit_bytes"]), (&json!("memory_limit"), &json!(256 << 20)), "{problem}");
}

/// Many requests with items at once: each gets its own answer, although there are fewer instances than items.
#[tokio::test(flavor = "multi_thread")]
async fn requests_with_items_take_turns() {
    let server = Arc::new(server(&[IN, SPLIT, EACH, GATHER]).await);
    let requests = (1..=24_usize).map(|count| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { (count, server.infer("p", "", rows(count * 2)).await) })
    });
    for request in requests.collect::<Vec<_>>() {
        let (count, reply) = request.await.expect("no panic");
        let items: serde_json::Value = (0..count * 2).map(item).collect();
        assert_eq!((reply.status, &reply.json()["items"]), (200, &items), "{}", reply.text);
    }
    wait_for_no_live(&server).await;
}
