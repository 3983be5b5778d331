//! Guests that misbehave: each case has its own status and code, and the host serves before, during and after it.

use std::time::{Duration, Instant};

use plimsoll_tests::{Reply, Server, guests_config};

async fn server() -> Server {
    Server::start(&guests_config("tester", "max_memory = \"64MiB\"\ndeadline = \"3s\"")).await
}

async fn check(server: &Server, query: &str, status: u16, code: &str) -> Reply {
    let healthy = async {
        // Another request while the misbehaving one runs.
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.infer("p", "?do=ok", "").await
    };
    let (reply, other) = tokio::join!(server.infer("p", query, "x"), healthy);
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{query}: {}", reply.text);
    assert_eq!(other.status, 200, "during {query}: {}", other.text);
    let after = server.infer("p", "?do=ok", "").await;
    assert_eq!(after.status, 200, "after {query}: {}", after.text);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn every_misbehaviour_has_its_status_and_code() {
    let server = server().await;
    check(&server, "?do=ok", 200, "ok").await;
    for (query, status, code) in [
        ("?do=loop", 504, "deadline"),
        ("?do=sleep&ms=60000", 504, "deadline"),
        ("?do=print", 504, "deadline"),
        ("?do=panic&message=boom", 500, "trap"),
        ("?do=recurse", 500, "trap"),
        ("?do=big&bytes=200000000", 413, "memory_limit"),
        ("?do=tensors", 413, "memory_limit"),
        ("?do=unsupported", 415, "unsupported_media_type"),
        ("?do=invalid", 422, "invalid_input"),
        ("?do=large", 413, "too_large"),
        ("?do=internal", 500, "internal"),
        ("?do=ok&infer=loop", 504, "deadline"),
        ("?do=ok&infer=panic", 500, "trap"),
        ("?do=ok&post=panic", 500, "trap"),
        ("?do=ok&post=big&bytes=20000000", 500, "output_limit"),
        ("?do=authority", 200, "ok"),
        ("?do=hello", 200, "ok"),
    ] {
        // The infer stage has the default deadline of ten seconds, so the deadline test below checks it.
        if query.contains("infer=loop") {
            continue;
        }
        check(&server, query, status, code).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlimited_growth_ends_at_the_cap_and_the_reply_names_stage_and_plugin() {
    let server = server().await;
    let reply = check(&server, "?do=grow", 413, "memory_limit").await;
    let problem = reply.json();
    assert_eq!(problem["stage"], "preprocess");
    assert_eq!(problem["plugin"], "tester");
    assert_eq!(problem["limit_bytes"], 64 << 20);
    let high_water = problem["high_water_bytes"].as_u64().expect("bytes");
    assert!((60 << 20..=64 << 20).contains(&high_water), "{high_water}");
    assert_eq!(problem["request_id"], reply.headers["x-request-id"].to_str().expect("text"));
    // If a later stage reaches its cap, this is a fault of the deployment, not of the caller.
    let config = guests_config("tester", "")
        .replace("plugin = \"echo-infer\"", "plugin = \"echo-infer\"\nmax_memory = \"8MiB\"");
    let server = Server::start(&config).await;
    check(&server, "?do=ok&infer=grow", 500, "memory_limit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_guest_soon_and_the_deadline_of_the_request_covers_all_stages() {
    let config = guests_config("tester", "")
        .replace("[pipelines.p.preprocess]", "[pipelines.p]\ndeadline = \"300ms\"\n[pipelines.p.preprocess]");
    let server = Server::start(&config).await;
    for query in ["?do=loop", "?do=ok&infer=loop"] {
        let started = Instant::now();
        let reply = server.infer("p", query, "").await;
        assert_eq!((reply.status, reply.code().as_str()), (504, "deadline"), "{query}");
        // Not a measurement: this only distinguishes the request's 300 ms from the stages' default of ten seconds.
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_mismatch_is_reported_with_model_and_input() {
    let config = guests_config("tester", "")
        .replace("plugin = \"echo-infer\"", "plugin = \"infer-native\"\nmodel = \"digits\"")
        + "[models.digits]\nfile = \"bundled:digits.onnx\"\n";
    let server = Server::start(&config).await;
    let reply = server.infer("p", "?do=ok", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["tensors"][0]["shape"], serde_json::json!([1, 10]));
    for (query, words) in [
        ("?do=shape", vec!["digits", "image", "[any, 1, 8, 8]", "[1, 3, 10, 10]"]),
        ("?do=name", vec!["digits", "nonsense", "image"]),
        ("?do=type", vec!["digits", "image", "fp32", "u8"]),
        ("?do=lie", vec!["digits", "image", "256 bytes", "holds 3"]),
    ] {
        let reply = server.infer("p", query, "").await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "tensor_mismatch"), "{query}: {}", reply.text);
        let detail = reply.json()["detail"].as_str().expect("text").to_owned();
        for word in words {
            assert!(detail.contains(word), "{query}: {word:?} is missing in {detail}");
        }
    }
}
