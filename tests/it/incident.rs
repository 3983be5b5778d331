//! The incident: a guest keeps the image of every failed request in a static, and gets 2,000 malformed images of 1 MB.
//! The memory of the process stays constant, and the report shows which stage and outcome needed the memory.

use plimsoll_tests::bench_support::preprocess_in_one_instance;
use plimsoll_tests::{Server, TempDir, guests_config, made_token};

use crate::cli::Served;

const IMAGE: usize = 1_000_000;

async fn resident(client: &reqwest::Client, url: &str, token: &str) -> u64 {
    let report = client
        .get(format!("{url}/v1/memory"))
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer")
        .bytes()
        .await
        .expect("whole");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    report["process"]["resident_bytes"].as_u64().expect("bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn leaked_memory_is_freed_with_the_instance() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let toml = guests_config("leaker", "");
    std::fs::write(&file, &toml).expect("written");
    let served = Served::start(&file);
    let client = reqwest::Client::new();
    let token = made_token(folder.path());
    let mut after_200 = 0;
    for request in 1..=2000 {
        let body = vec![b'x'; IMAGE];
        let reply = client.post(format!("{}/v1/pipelines/p/infer", served.url)).body(body).send().await.expect("sent");
        assert_eq!(reply.status(), 422);
        if request == 200 {
            after_200 = resident(&client, &served.url, &token).await;
        }
    }
    let after_2000 = resident(&client, &served.url, &token).await;
    println!("resident memory: {after_200} bytes after request 200, {after_2000} after request 2000");
    assert!(after_2000.abs_diff(after_200) < 4 << 20, "{after_200} → {after_2000}");

    // For comparison, the same plugin in one reused instance leaks about one image per request.
    let server = Server::start(&toml).await;
    let body = vec![b'x'; IMAGE];
    let pipeline = server.app.pipeline("p").expect("served");
    let stage = &pipeline.preprocess;
    let usages = preprocess_in_one_instance(stage, &vec![body.as_slice(); 50]).await.expect("within the cap");
    let per_request = (usages[49].high_water - usages[9].high_water) as f64 / 40.0;
    println!("reused instance: {per_request} bytes per request");
    assert!((0.9..1.2).contains(&(per_request / IMAGE as f64)), "{per_request}");

    // A real request: its high-water mark is in the row of the outcome of malformed images.
    let reply = server.infer("p", "", body).await;
    let row = server.memory_row("preprocess", "invalid_input").await.expect("a row");
    assert_eq!(row["max"], reply.high_water("preprocess"));
    assert!(row["max"].as_u64().expect("bytes") >= 2 * IMAGE as u64, "the body and its copy were held: {row}");
    assert_eq!(row["plugin"], "leaker");
}
