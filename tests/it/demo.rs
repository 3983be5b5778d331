//! The bundled demo `digits`: real pictures get the right labels on both chips.

use plimsoll::config::Config;
use plimsoll_tests::{Server, data};

/// The tolerance of probabilities. The reference (Pillow) rounds resized pixels to whole levels, the plugin does not.
const TOLERANCE: f64 = 0.02;

#[tokio::test(flavor = "multi_thread")]
async fn pictures_get_their_labels_on_both_chips_and_the_chips_agree() {
    let server = Server::with_config(&Config::load(None).expect("the demo parses")).await;
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data("digits/expected.json")).expect("present")).expect("JSON");
    let expected = expected.as_object().expect("files");
    assert_eq!(expected.len(), 10);
    for (file, expected) in expected {
        let picture = std::fs::read(data(&format!("digits/{file}"))).expect("present");
        let mut probabilities = Vec::new();
        for chip in ["native", "wasm"] {
            let reply = server.infer("digits", &format!("?chip={chip}"), picture.clone()).await;
            assert_eq!(reply.status, 200, "{file} on {chip}: {}", reply.text);
            assert_eq!(reply.headers["x-plimsoll-chip"], chip);
            let best = &reply.json()["predictions"][0];
            assert_eq!(best["label"], expected["label"], "{file} on {chip}");
            let index = best["index"].as_u64().expect("a class") as usize;
            let reference = expected["probabilities"][index].as_f64().expect("a number");
            let probability = best["probability"].as_f64().expect("a number");
            assert!(
                (probability - reference).abs() < TOLERANCE,
                "{file} on {chip}: {probability}, expected {reference}"
            );
            probabilities.push(probability);
        }
        assert!((probabilities[0] - probabilities[1]).abs() < 1e-4, "{file}: the chips differ: {probabilities:?}");
    }
    let rows = server.get("/v1/memory").await.json();
    let chips: std::collections::BTreeSet<_> =
        rows["stages"].as_array().expect("rows").iter().map(|row| row["chip"].to_string()).collect();
    assert_eq!(chips.len(), 2, "{rows}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_parameters_reach_the_stage() {
    let server = Server::with_config(&Config::load(None).expect("the demo parses")).await;
    let picture = std::fs::read(data("digits/0.png")).expect("present");
    let reply = server.infer("digits", "?top_k=10", picture.clone()).await;
    assert_eq!(reply.json()["predictions"].as_array().expect("a list").len(), 10);
    let reply = server.infer("digits", "?top_k=many", picture).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"));
    let reply = server.infer("digits", "", "no image").await;
    assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"), "{}", reply.text);
}
