//! Several images in one request: each runs in its own instances, the results are in order, and with `partial` each
//! image has its own error.

use plimsoll_tests::{Server, guests_config};
use serde_json::{Value, json};

use crate::oip_rest::{demo, digit, images, label};

const NAMES: [&str; 5] = ["4.png", "7.jpg", "1.png", "3.jpg", "9.png"];

#[tokio::test(flavor = "multi_thread")]
async fn oip_results_have_the_order_of_the_images() {
    let server = demo().await;
    let pictures: Vec<_> = NAMES.iter().map(|name| digit(name)).collect();
    let pictures: Vec<_> = pictures.iter().map(Vec::as_slice).collect();
    let reply = server.infer_json("digits", &json!({ "id": "many", "inputs": [images(&pictures)] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let output = reply.json()["outputs"][0].clone();
    assert_eq!(output["shape"], json!([5]));
    let labels: Vec<_> =
        output["data"].as_array().expect("texts").iter().map(|text| label(text.as_str().expect("text"))).collect();
    assert_eq!(labels, ["4", "7", "1", "3", "9"]);
    // Each image ran in its own instances and counts as an inference.
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert_eq!(row["count"], 5);
    let stats = server.get("/v2/models/digits/stats").await.json();
    assert_eq!(stats["model_stats"][0]["inference_count"], 5, "{stats}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_bad_image_fails_the_whole_request_or_with_partial_only_itself() {
    let server = demo().await;
    let (good, bad) = (digit("7.jpg"), b"no image".to_vec());
    let input = images(&[&good, &good, &bad, &good]);
    let reply = server.infer_json("digits", &json!({ "inputs": [input] })).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["index"]), (415, &json!(2)), "{body}");
    assert!(body["error"].as_str().expect("a sentence").starts_with("image 3 of 4: "), "{body}");

    let request = json!({ "parameters": { "partial": true }, "inputs": [input] });
    let reply = server.infer_json("digits", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert_eq!(body["parameters"]["failed"], 1);
    let (output, errors) = (&body["outputs"][0], &body["outputs"][1]);
    assert_eq!((&output["name"], &errors["name"], &errors["shape"]), (&json!("output"), &json!("errors"), &json!([4])));
    for index in [0, 1, 3] {
        assert_eq!(label(output["data"][index].as_str().expect("text")), "7");
        assert_eq!(errors["data"][index], "");
    }
    assert_eq!(output["data"][2], "");
    let problem: Value = serde_json::from_str(errors["data"][2].as_str().expect("text")).expect("a problem");
    assert_eq!((&problem["code"], &problem["stage"]), (&json!("unsupported_media_type"), &json!("preprocess")));
    assert!(problem["request_id"].as_str().expect("an id").ends_with(".2"), "{problem}");

    let mut wanted = request.clone();
    wanted["outputs"] = json!([{ "name": "errors" }]);
    let reply = server.infer_json("digits", &wanted).await;
    assert_eq!(reply.json()["outputs"].as_array().expect("a list").len(), 1, "{}", reply.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_no_byte_of_an_image_is_visible_to_the_next_image_of_the_request() {
    let server = Server::start(&guests_config("tester", "")).await;
    // Each image fills memory with a pattern that the next image would find in a reused instance.
    let request = |what: &str| json!({ "parameters": { "do": what, "bytes": 8 << 20 }, "inputs": [images(&[b"a", b"b", b"c", b"d"])] });
    for what in ["fill", "search", "fill", "search"] {
        let reply = server.infer_json("p", &request(what)).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_disconnect_stops_the_guests_of_all_images() {
    let config = guests_config("tester", "");
    let server = Server::start(&format!("[server]\nmax_concurrency = 2\nmax_queue = 1\n{config}")).await;
    let request = json!({ "parameters": { "do": "loop" }, "inputs": [images(&[b"a", b"b", b"c", b"d"])] });
    let gone = tokio::time::timeout(std::time::Duration::from_millis(500), server.infer_json("p", &request)).await;
    assert!(gone.is_err(), "the guests still loop");
    // Both slots are free again long before the stages' deadline of ten seconds.
    let next = tokio::time::timeout(std::time::Duration::from_secs(5), server.infer("p", "?do=ok", "")).await;
    assert_eq!(next.expect("the guests were stopped").status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_the_deadline_applies_to_the_whole_request() {
    let server = Server::start(&guests_config("tester", "")).await;
    // More work for all cores than the request may take.
    let count = 24 * std::thread::available_parallelism().map_or(2, usize::from);
    let request = json!({ "parameters": { "do": "sleep", "ms": 400, "timeout": 4_000_000, "partial": true },
                          "inputs": [images(&vec![b"a".as_slice(); count])] });
    let started = std::time::Instant::now();
    let reply = server.infer_json("p", &request).await;
    assert!(started.elapsed() < std::time::Duration::from_millis(24 * 400), "{:?}", started.elapsed());
    let body = reply.json();
    let errors = body["outputs"][1]["data"].as_array().expect("texts");
    assert_eq!(errors[0], "", "the first image was in time");
    assert!(errors[count - 1].as_str().expect("text").contains("\"deadline\""), "{body}");
    server.stop().await;
}

/// serde_json would keep the last one.
#[tokio::test(flavor = "multi_thread")]
async fn oip_a_parameter_that_is_given_twice_is_rejected() {
    let server = demo().await;
    let text = |parameters: &str| {
        json!({ "inputs": [images(&[&digit("7.jpg")])] }).to_string().replacen('{', &format!("{{{parameters},"), 1)
    };
    for (parameters, status) in
        [(r#""parameters":{"partial":true}"#, 200), (r#""parameters":{"partial":true,"partial":false}"#, 400)]
    {
        let body = text(parameters).into_bytes();
        let reply = server.send("POST", "/v2/models/digits/infer", &[("content-type", "application/json")], body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert_eq!(reply.text.contains("`partial` is given more than once"), status == 400, "{}", reply.text);
    }
    server.stop().await;
}

/// All images are counted, and a few are listed among the latest requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_many_images_leaves_room_for_others_in_the_list() {
    let server = Server::start(&guests_config("tester", "")).await;
    server.send("POST", "/v1/pipelines/p/infer?do=panic", &[("x-request-id", "incident")], Vec::new()).await;
    let pictures = [&b"x"[..]; 250];
    let reply = server.infer_json("p", &json!({ "id": "batch", "inputs": [images(&pictures)] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let list = server.get("/v1/requests").await.json();
    let ids: Vec<_> = list["requests"].as_array().expect("a list").iter().map(|request| &request["id"]).collect();
    assert_eq!((ids.len(), ids[8]), (8 + 1, &json!("incident")), "{ids:?}");
    let infer = server.memory_row("infer", "ok").await.expect("a row");
    assert_eq!(infer["count"], 250, "all of them are counted: {infer}");
}
