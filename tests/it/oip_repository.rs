//! The model repository extension and the statistics extension of the Open Inference Protocol.

use plimsoll::config::Config;
use plimsoll_tests::{Server, Site, TempDir, guests_config, stamped};
use serde_json::{Value, json};

use crate::oip_rest::{demo, digit, images};

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let reply = server.send("POST", path, headers, body.as_bytes().to_vec()).await;
    let json = if reply.text.is_empty() { Value::Null } else { reply.json() };
    (reply.status, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_pipeline_is_unloaded_and_loaded_again() {
    let server = demo().await;
    let version = server.get("/v2/models/digits").await.json()["versions"][0].clone();
    let ready = |name: &str| json!({ "name": name, "version": version, "state": "READY", "reason": "" });
    for body in ["", "{}", "{\"ready\":true}"] {
        let (status, index) = post(&server, "/v2/repository/index", &[], body).await;
        assert_eq!((status, index), (200, json!([ready("digits"), ready("digits.infer")])));
    }
    let (status, body) = post(&server, "/v2/repository/models/digits/unload", &[], "").await;
    assert_eq!((status, body), (200, Value::Null));
    let (_, index) = post(&server, "/v2/repository/index", &[], "").await;
    assert_eq!(index[0], json!({ "name": "digits", "state": "UNAVAILABLE", "reason": "unloaded" }));
    let (_, index) = post(&server, "/v2/repository/index", &[], "{\"ready\":true}").await;
    assert_eq!(index, json!([]));
    for name in ["digits", "digits.infer"] {
        let reply = server.get(&format!("/v2/models/{name}/ready")).await;
        assert_eq!((reply.status, reply.json()["ready"].clone()), (503, json!(false)));
        let reply = server.infer_json(name, &json!({ "inputs": [] })).await;
        assert!(reply.status == 404 && reply.text.contains("/v2/repository/models/digits/load"), "{}", reply.text);
    }
    let reply = server.infer("digits", "", digit("7.jpg")).await;
    assert!(reply.status == 404 && reply.text.contains("is unloaded"), "{}", reply.text);
    assert_eq!(server.get("/v2/health/ready").await.status, 200, "an unloaded pipeline does not affect readiness");

    let (status, _) = post(&server, "/v2/repository/models/digits/load", &[], "{\"parameters\":{}}").await;
    assert_eq!(status, 200);
    let reply = server.infer_json("digits", &json!({ "inputs": [images(&[&digit("7.jpg")])] })).await;
    assert_eq!((reply.status, &reply.json()["model_version"]), (200, &version), "{}", reply.text);
    assert_eq!(post(&server, "/v2/repository/models/digits/load", &[], "").await.0, 200, "loading again is allowed");

    for (path, body, status, word) in [
        ("ghost/load", "", 404, "no pipeline `ghost`"),
        ("ghost/unload", "", 404, "no pipeline `ghost`"),
        ("digits.infer/unload", "", 400, "use the name `digits`"),
        ("digits/load", "{\"parameters\":{\"config\":\"{}\"}}", 400, "plimsoll.toml"),
        ("digits/load", "[", 400, "not valid JSON"),
    ] {
        let (found, body) = post(&server, &format!("/v2/repository/models/{path}"), &[], body).await;
        assert!(found == status && body["error"].as_str().expect("a sentence").contains(word), "{path}: {body}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_loading_needs_the_admin_token_and_listing_does_not() {
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "correct horse battery").expect("written");
    let config = format!("[admin]\ntoken_file = {token:?}\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    for path in ["/v2/repository/models/p/unload", "/v2/repository/models/p/load"] {
        let (status, body) = post(&server, path, &[], "").await;
        assert_eq!((status, &body["code"]), (401, &json!("unauthorized")));
        assert_eq!(post(&server, path, &[("authorization", "Bearer wrong horse battery")], "").await.0, 401);
        let (status, body) = post(&server, path, &[("authorization", "Bearer correct horse battery")], "").await;
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(post(&server, "/v2/repository/index", &[], "").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_an_unloaded_pipeline_stays_unloaded_when_plugins_or_configuration_change() {
    let site = Site::new("");
    let server = site.serve().await;
    assert_eq!(post(&server, "/v2/repository/models/p/unload", &[], "").await.0, 200);
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(server.get("/v2/models/p/ready").await.status, 503);
    let config = Config::load(Some(&site.config)).expect("valid");
    let app = std::sync::Arc::clone(&server.app);
    let reload = app.deployments.clone().change(async move |serving, deployer| deployer.reload(serving, config).await);
    let reloaded = reload.await;
    reloaded.expect("served");
    // The stop below waits until nothing uses it.
    drop(app);
    assert_eq!(server.get("/v2/models/p/ready").await.status, 503);
    assert_eq!(post(&server, "/v2/repository/models/p/load", &[], "").await.0, 200);
    assert_eq!(
        server.infer("p", "", "").await.text,
        plimsoll_tests::stamped_reply(1),
        "the pipeline uses the version that was deployed while it was unloaded"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_new_version_of_a_plugin_is_a_new_version_of_the_model() {
    let site = Site::new("");
    let server = site.serve().await;
    let version = async || server.get("/v2/models/p").await.json()["versions"][0].as_str().expect("text").to_owned();
    let before = version().await;
    assert_eq!(server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await.status, 200);
    let after = version().await;
    assert_ne!(before, after);
    assert_eq!(server.get(&format!("/v2/models/p/versions/{before}")).await.status, 404);
    assert_eq!(server.get(&format!("/v2/models/p/versions/{after}")).await.status, 200);
    let reply = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(version().await, before, "the same plugins give the same version");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_canary_is_a_second_version_that_requests_can_name() {
    let site = Site::new("canary = { share = \"1%\", requests = 100000 }");
    let server = site.serve().await;
    let old = server.get("/v2/models/p").await.json()["versions"][0].as_str().expect("text").to_owned();
    assert_eq!(server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await.status, 200);
    let versions = server.get("/v2/models/p").await.json()["versions"].clone();
    assert_eq!((versions.as_array().expect("a list").len(), &versions[0]), (2, &json!(old)), "{versions}");
    let new = versions[1].as_str().expect("text").to_owned();
    for (version, mark) in [(&new, 1), (&old, 0), (&new, 1)] {
        let path = format!("/v2/models/p/versions/{version}/infer");
        let body = json!({ "inputs": [images(&[b"x"])] }).to_string().into_bytes();
        let reply = server.send("POST", &path, &[], body).await;
        let body = reply.json();
        assert_eq!(body["outputs"][0]["data"][0], plimsoll_tests::stamped_reply(mark), "{body}");
        assert_eq!(body["model_version"].as_str(), Some(version.as_str()));
    }
    // Otherwise callers who name a version could decide the canary.
    let canary = server.get("/v1/plugins/stamp").await.json()["canary"][0].clone();
    let requests = ["new", "old"].map(|side| canary[side]["requests"].as_u64());
    assert_eq!(requests, [Some(0), Some(0)], "requests that name a version do not count: {canary}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_statistics_count_successful_and_failed_requests() {
    let server = Server::start(&guests_config("tester", "")).await;
    for parameters in [json!({}), json!({ "do": "sleep", "ms": 50 }), json!({ "do": "invalid" })] {
        server.infer_json("p", &json!({ "parameters": parameters, "inputs": [images(&[b"x"])] })).await;
    }
    server.infer("p", "", "").await;
    let input = json!({ "name": "x", "shape": [1], "datatype": "FP32", "data": [1.0] });
    server.infer_json("p.infer", &json!({ "inputs": [input] })).await;

    let stats = server.get("/v2/models/stats").await.json();
    let rows = stats["model_stats"].as_array().expect("rows").clone();
    assert_eq!(rows.len(), 2, "{stats}");
    let (whole, infer) = (&rows[0], &rows[1]);
    assert_eq!((&whole["name"], &infer["name"]), (&json!("p"), &json!("p.infer")));
    // Requests are counted on every route.
    assert_eq!((&whole["inference_count"], &whole["execution_count"]), (&json!(3), &json!(3)));
    let times = &whole["inference_stats"];
    assert_eq!((&times["success"]["count"], &times["fail"]["count"]), (&json!(3), &json!(1)));
    for part in ["queue", "compute_input", "compute_infer", "compute_output"] {
        assert_eq!(times[part]["count"], 3, "{part}");
    }
    assert!(times["compute_input"]["ns"].as_u64().expect("a number") >= 50_000_000, "{times}");
    assert!(times["success"]["ns"].as_u64() >= times["compute_input"]["ns"].as_u64());
    assert_eq!(infer["inference_stats"]["compute_infer"]["count"], 1);
    assert_eq!(infer["inference_stats"]["compute_input"]["count"], 0);
    assert!(whole["last_inference"].as_u64().expect("a number") > 1_700_000_000_000);
    let version = whole["version"].as_str().expect("text");
    let one = server.get(&format!("/v2/models/p/versions/{version}/stats")).await.json();
    assert_eq!(one["model_stats"], json!([whole]));
    server.stop().await;
}
