//! What the log and the statistics say about requests with many items.

use serde_json::json;

use crate::process::Setup;
use crate::steps_pipelines::{GATHER, IN, config, rows, server};

const SPLIT: &str = r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, partial = true, max_items = 1000, config = { split = true } }"#;
const EACH: &str = r#"{ name = "each", kind = "transform", plugin = "transformer", config = { parameter = "each" } }"#;

/// A caller chooses how many items there are, so each of them must not write lines of the log.
#[tokio::test(flavor = "multi_thread")]
async fn many_items_that_fail_write_few_lines() {
    let text = format!("cache_dir = {:?}\n{}", plimsoll_tests::shared_cache(), config("", &[IN, SPLIT, EACH, GATHER]));
    let setup = Setup::with(&text);
    let process = setup.serve();
    let url = format!("{}/v1/pipelines/p/infer", process.url());
    let client = reqwest::Client::new();
    let post = async |query: &str| {
        let reply = client.post(format!("{url}{query}")).body(rows(300)).send().await.expect("a reply");
        assert_eq!(reply.status(), 200);
        reply.json::<serde_json::Value>().await.expect("JSON")
    };
    let reply = post("?each=panic").await;
    let failed = reply["items"].as_array().expect("items").iter().filter(|item| item["error"].is_object()).count();
    assert_eq!(failed, 300);
    let log = process.wait_for("300 runs of this step failed");
    // A run logs the message of the panic and the error. As many as run at the same time may begin before the third ends.
    let lines = log.lines().filter(|line| line.contains("transformer")).count();
    assert!((4..200).contains(&lines), "{lines} lines: {log}");
    let errors = log.lines().filter(|line| line.contains("plimsoll::stage") && line.contains("backtrace")).count();
    assert!(errors <= 3, "{errors} errors: {log}");
}

/// Clients divide the times of the Open Inference Protocol by the counts, so a request counts once, whatever it has items.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_once_in_the_statistics() {
    let model = r#"{ name = "model", kind = "infer", plugin = "noop-infer" }"#;
    let server = server(&[IN, SPLIT, model, GATHER]).await;
    for count in [0, 5] {
        assert_eq!(server.infer("p", "", rows(count)).await.status, 200);
    }
    let reply = server.get("/v2/models/p/stats").await;
    let stats = reply.json()["model_stats"][0]["inference_stats"].clone();
    let count = |part: &str| stats[part]["count"].clone();
    assert_eq!((count("success"), count("compute_input")), (json!(2), json!(2)), "{}", reply.text);
    assert_eq!((count("compute_infer"), count("compute_output")), (json!(1), json!(2)), "{}", reply.text);
}
