//! Generated requests: every reply is a 2xx or 4xx and arrives in time, and the memory of the process does not grow by
//! more than a few times the body limit.

use std::time::Duration;

use plimsoll_tests::{Server, guests_config, is_alone};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const CASES: u32 = 256;
const HEADER: &str = "inference-header-content-length";

fn limited() -> String {
    format!(
        "[server]\nmax_body = \"1MiB\"\nbody_budget = \"4MiB\"\nbody_timeout = \"2s\"\n{}",
        guests_config("tester", "")
    )
}

/// Sends the generated cases and checks the replies.
fn fuzz<T: std::fmt::Debug>(
    strategy: &impl Strategy<Value = T>,
    send: &impl AsyncFn(&Server, T) -> Option<(u16, String)>,
) {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(&limited()));
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let result = runner.run(strategy, |case| {
        let answered =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), send(&server, case)).await });
        let answered = answered.map_err(|_| TestCaseError::fail("no answer within ten seconds"))?;
        if let Some((status, body)) = answered {
            let is_expected = (200..300).contains(&status) || (400..500).contains(&status);
            prop_assert!(is_expected, "status {status}: {body}");
            if status >= 400 {
                let body: Value =
                    serde_json::from_str(&body).map_err(|e| TestCaseError::fail(format!("{e}: {body}")))?;
                prop_assert!(body["error"].is_string(), "{body}");
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let after = runtime.block_on(server.infer("p", "", ""));
    assert_eq!(after.status, 200, "the server still serves");
    runtime.block_on(server.stop());
}

/// Any JSON, which often contains the words of the protocol.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "inputs",
        "outputs",
        "name",
        "shape",
        "datatype",
        "data",
        "parameters",
        "id",
        "image",
        "BYTES",
        "FP32",
        "UINT64",
        "binary_data_size",
        "binary_data",
        "binary_data_output",
        "content_type",
        "base64",
        "chip",
        "timeout",
        "partial",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let key = prop_oneof![word.clone().prop_map(str::to_owned), "[a-z]{1,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// A request that is valid except for one member of its input, which is any JSON.
fn nearly_valid() -> impl Strategy<Value = Value> {
    let member = prop::sample::select(vec!["name", "shape", "datatype", "data", "parameters"]);
    let datatype =
        prop::sample::select(vec!["BYTES", "BOOL", "INT8", "UINT16", "INT64", "UINT64", "FP16", "FP32", "FP64"]);
    (member, any_json(), datatype, 0_u64..5).prop_map(|(member, value, datatype, size)| {
        let mut input = json!({ "name": "image", "shape": [size], "datatype": datatype, "data": [1, 2] });
        input[member] = value;
        json!({ "inputs": [input] })
    })
}

fn model() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["p", "p.infer"])
}

async fn post(server: &Server, model: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<(u16, String)> {
    let reply = server.send("POST", &format!("/v2/models/{model}/infer"), headers, body).await;
    Some((reply.status, reply.text))
}

#[test]
fn oip_fuzz_any_json() {
    let request = prop_oneof![any_json(), any_json().prop_map(|value| json!({ "inputs": [value] })), nearly_valid()];
    fuzz(&(model(), request), &async |server, (model, request)| {
        post(server, model, &[], request.to_string().into_bytes()).await
    });
}

#[test]
fn oip_fuzz_any_bytes() {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    fuzz(&(model(), bytes), &async |server, (model, bytes)| post(server, model, &[], bytes).await);
}

#[test]
fn oip_fuzz_wrong_header_lengths_and_sizes() {
    let number = prop_oneof![
        (0_i128..200).boxed(),
        any::<i64>().prop_map(i128::from).boxed(),
        any::<u64>().prop_map(i128::from).boxed(),
        Just(i128::from(u32::MAX)).boxed(),
    ];
    let shape = prop::collection::vec(prop_oneof![0_u64..9, any::<u64>()], 0..5);
    let datatype = prop::sample::select(vec!["BYTES", "BOOL", "INT16", "FP16", "BF16", "FP32", "FP64", "UINT64"]);
    let tail = prop::collection::vec(any::<u8>(), 0..200);
    let is_correct = any::<bool>();
    let case = (model(), number.clone(), number, shape, datatype, tail, is_correct);
    fuzz(&case, &async |server, (model, header, size, shape, datatype, tail, is_correct)| {
        let size =
            if is_correct { json!(tail.len()) } else { serde_json::from_str(&size.to_string()).unwrap_or(Value::Null) };
        let input = json!({ "name": "image", "shape": shape, "datatype": datatype, "parameters": { "binary_data_size": size } });
        let text = json!({ "inputs": [input] }).to_string().into_bytes();
        let header = if is_correct { text.len().to_string() } else { header.to_string() };
        post(server, model, &[(HEADER, &header)], [text, tail].concat()).await
    });
}

#[test]
fn oip_fuzz_compressed_bodies() {
    let encoding = prop::sample::select(vec!["gzip", "deflate", "identity", "br", "gzip, deflate"]);
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    fuzz(&(encoding, bytes, any::<bool>()), &async |server, (encoding, bytes, compressed)| {
        let mut body = Vec::new();
        match (compressed, encoding) {
            (true, "gzip") => {
                std::io::Read::read_to_end(
                    &mut flate2::read::GzEncoder::new(&bytes[..], flate2::Compression::fast()),
                    &mut body,
                )
                .expect("memory");
            }
            _ => body = bytes,
        }
        post(server, "p", &[("content-encoding", encoding)], body).await
    });
}

/// JSON that takes the most memory for its length must not take more memory than a few bodies.
#[tokio::test(flavor = "multi_thread")]
async fn oip_fuzz_bodies_with_the_most_overhead_do_not_use_unlimited_memory() {
    const BODY: usize = 8 << 20;
    // The memory of this process is measured.
    if !is_alone("oip_fuzz::oip_fuzz_bodies_with_the_most_overhead_do_not_use_unlimited_memory") {
        return;
    }
    let server = Server::start(&format!(
        "[server]\nmax_body = \"8MiB\"\nbody_budget = \"64MiB\"\n{}",
        guests_config("tester", "")
    ))
    .await;
    let repeated = |start: &str, item: &str, end: &str| {
        let times = (BODY - start.len() - end.len()) / item.len() - 1;
        format!("{start}{}{end}", item.repeat(times)).into_bytes()
    };
    let bodies = [
        repeated("[", "0,", "0]"),
        repeated("{\"x\":[", "[],", "[]]}"),
        repeated("{\"parameters\":{\"a\":[", "0,", "0]}}"),
        repeated("{\"inputs\":[", "{\"name\":\"\",\"shape\":[],\"datatype\":\"\"},", "0]}"),
        repeated("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[", "1,", "1]}]}"),
        repeated(
            "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[65536],\"data\":[",
            "\"\",",
            "\"\"]}]}",
        ),
        repeated("{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP64\",\"shape\":[4000000],\"data\":[", "0,", "0]}]}"),
        repeated("", "[", ""),
        repeated("{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP64\",\"shape\":[1],\"data\":", "[", ""),
    ];
    server.infer_json("p.infer", &json!({})).await;
    let before = resident(&server).await;
    for (index, body) in bodies.into_iter().enumerate() {
        for model in ["p", "p.infer"] {
            let reply = server.send("POST", &format!("/v2/models/{model}/infer"), &[], body.clone()).await;
            assert!((400..500).contains(&reply.status), "{index}: {} {}", reply.status, reply.text);
            let grown = resident(&server).await.saturating_sub(before);
            // The client in this process holds the body twice, the server holds it once, and its tensors once.
            assert!(grown < 12 * BODY as u64, "body {index} for {model}: {grown} bytes more");
        }
    }
    server.stop().await;
}

async fn resident(server: &Server) -> u64 {
    let peak = server.get("/v1/memory").await.json();
    peak["process"]["resident_bytes"].as_u64().expect("bytes")
}
