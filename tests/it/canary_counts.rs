//! What counts for a canary: a request once, and not at all if it was not answered.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use plimsoll_tests::simulated::{Device, Fault};
use plimsoll_tests::{Reply, Server, Site, another_version, guest, guests_config, shared_cache, stamped};
use serde_json::{Value, json};

const RULES: &str = "canary = { share = \"25%\", requests = 40 }";

/// Starts a server with a canary.
async fn on_canary(site: &Site, mark: u32) -> Server {
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(mark)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    server
}

/// A figure of the new version and of the old one, together.
fn both(view: &Value, figure: &str) -> u64 {
    let of = |side: &str| view["canary"][0][side][figure].as_u64().unwrap_or_else(|| panic!("no canary: {view}"));
    of("new") + of("old")
}

/// Otherwise one request of a caller could decide a canary.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_many_images_counts_once() {
    let site = Site::new(RULES);
    let server = on_canary(&site, 1).await;
    let input = json!({ "name": "image", "datatype": "BYTES", "shape": [64], "data": vec!["x"; 64] });
    for partial in [false, true] {
        for _ in 0..5 {
            let reply =
                server.infer_json("p", &json!({ "parameters": { "partial": partial }, "inputs": [input] })).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    let view = server.get("/v1/plugins/stamp").await.json();
    assert_eq!((both(&view, "requests"), both(&view, "failures")), (10, 0), "{view}");
}

/// Otherwise a version that hangs would be promoted, and a caller could promote any version without one answer.
#[tokio::test(flavor = "multi_thread")]
async fn requests_whose_callers_go_away_are_no_evidence_of_success() {
    let site = Site::new("");
    let component = std::fs::read(guest("tester")).expect("built");
    site.drop_in("tester.wasm", &component);
    let declared = format!("[plugins.tester]\nfile = {:?}\n", guest("tester"));
    let table = "[pipelines.p.preprocess]";
    let guests =
        guests_config("tester", "").replace(&declared, "").replace(table, &format!("[pipelines.p]\n{RULES}\n{table}"));
    plimsoll_tests::replace_file(&site.config, format!("cache_dir = {:?}\n{guests}", shared_cache())).expect("written");
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/tester?version=2", &[], another_version(&component, 2)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let address = server.url.trim_start_matches("http://").to_owned();
    let path = "/v1/pipelines/p/infer?do=sleep&ms=9000";
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(&address).expect("connected");
            stream.write_all(head.as_bytes()).expect("sent");
            streams.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(streams);
        let view = server.get("/v1/plugins/tester").await.json();
        assert_eq!(both(&view, "requests"), 0, "{view}");
        if both(&view, "given_up") >= 8 {
            break;
        }
        assert!(Instant::now() < until, "{view}");
    }
}

/// Sends requests, every other one with bad input, until the version with the digest of the mark has a state.
async fn send_until(server: &Server, state: &str, query: &str) -> Value {
    for at in 0..2_000 {
        let query = if at % 2 == 0 { "?do=bad" } else { query };
        server.infer("p", query, "").await;
        let view = server.get("/v1/plugins/stamp").await.json();
        let versions = view["versions"].as_array().expect("a list");
        if let Some(version) = versions.iter().find(|version| version["state"] == state) {
            return version.clone();
        }
    }
    panic!("no version is {state}: {}", server.get("/v1/plugins/stamp").await.text);
}

/// A version that refuses what the old one takes, or answers it with an error of its own, must not be promoted. Bad input of
/// callers, which both versions refuse, blames neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_answers_with_more_errors_is_rolled_back_and_bad_input_blames_none() {
    for (query, words) in [
        ("?do=refuse", "requests were answered with an error, but"),
        ("?do=fail", "requests were answered with an error of the server, but 0 of"),
    ] {
        let site = Site::new("canary = { share = \"25%\", requests = 200 }");
        let server = on_canary(&site, 9).await;
        let version = send_until(&server, "refused", query).await;
        let reason = version["reason"].as_str().expect("a reason");
        assert!(reason.contains(words), "{reason}");
        assert_eq!(server.infer("p", query, "").await.status, 200, "the old version serves");
    }
    let site = Site::new(RULES);
    let server = on_canary(&site, 9).await;
    let version = send_until(&server, "previous", "").await;
    assert_eq!(version["digest"], plimsoll_runtime::identity::digest(&stamped(0)), "the new version was promoted");
}

/// A site with the plugin `tester` on a simulated device. Its pipeline divides callers between the versions of a canary.
fn on_a_device(device: &str) -> Site {
    let site = Site::new("");
    site.drop_in("tester.wasm", &std::fs::read(guest("tester")).expect("built"));
    let text = format!(
        "cache_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[plugins.echo-postprocess]\nfile = {:?}\n\
         [models.m]\nfile = \"bundled:digits.onnx\"\nbackend = \"simulated\"\noptions = {{ device = \"{device}\" }}\n\
         device_failures = 100000\n[pipelines.p]\n\
         canary = {{ share = \"50%\", requests = 100000, by = \"caller\" }}\n\
         [pipelines.p.preprocess]\nplugin = \"tester\"\n[pipelines.p.chips.a]\nplugin = \"infer-native\"\nmodel = \"m\"\n\
         [pipelines.p.postprocess]\nplugin = \"echo-postprocess\"\n",
        shared_cache(),
        guest("echo-postprocess"),
    );
    plimsoll_tests::replace_file(&site.config, text).expect("written");
    site
}

/// Why a version was rolled back.
fn refused(view: &Value) -> Option<String> {
    let mut versions = view["versions"].as_array().expect("a list").iter();
    versions.find(|version| version["state"] == "refused").map(|version| version["reason"].to_string())
}

/// The tensors of a version may make every run on the device fail. An outage of the device blames no version.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_device_are_compared_between_the_versions() {
    let device = Device::of("canary");
    let site = on_a_device("canary");
    let server = site.serve().await;
    let new = another_version(&std::fs::read(guest("tester")).expect("built"), 2);
    let put = server.send("PUT", "/v1/plugins/tester?version=2", &[], new).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let send = async |caller: usize, fault| -> Reply {
        device.set_fault(fault);
        let caller = format!("caller-{caller}");
        let headers = [("x-plimsoll-caller", &*caller)];
        server.send("POST", "/v1/pipelines/p/infer", &headers, Vec::new()).await
    };
    let mut is_new = Vec::new();
    for caller in 0..40 {
        let reply = send(caller, Fault::None).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        is_new.push(reply.headers["x-plimsoll-plugins"].to_str().expect("text").contains("tester@2"));
    }
    for caller in 0..40 {
        let reply = send(caller, Fault::Lost).await;
        assert_eq!((reply.status, &*reply.code()), (503, "device_failure"), "{}", reply.text);
    }
    let view = server.get("/v1/plugins/tester").await.json();
    assert_eq!(both(&view, "requests"), 80, "{view}");
    assert_eq!(refused(&view), None, "an outage: {view}");

    for caller in (0..40).cycle().take(4_000) {
        send(caller, if is_new[caller] { Fault::Lost } else { Fault::None }).await;
        let view = server.get("/v1/plugins/tester").await.json();
        if let Some(reason) = refused(&view) {
            return assert!(reason.contains("requests were answered with an error of the server, but"), "{reason}");
        }
    }
    panic!("the new version still serves: {}", server.get("/v1/plugins/tester").await.text);
}
