//! Batching across isolated instances, over HTTP: the replies are those of single runs, and the metrics count batches.

use std::sync::Arc;

use plimsoll_tests::{Server, TempDir, data};

/// A pipeline with the demo's plugins. `model` is the content of `[models.m]`.
pub(crate) fn config(model: &str) -> String {
    format!(
        "[models.m]\n{model}\n[pipelines.p]\nmodel = \"m\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
         [pipelines.p.chips.c]\nplugin = \"infer-native\"\n[pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ labels = \"labels.txt\" }}\nassets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
    )
}

pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

/// Sends pictures of digits at the same time, and checks that each is recognised.
pub(crate) async fn recognise_at_once(server: &Arc<Server>, digits: impl Iterator<Item = usize>) {
    let requests: Vec<_> = digits
        .map(|digit| {
            let server = Arc::clone(server);
            tokio::spawn(async move {
                let extension = if [3, 7].contains(&digit) { "jpg" } else { "png" };
                let body = std::fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit");
                (digit, server.infer("p", "", body).await)
            })
        })
        .collect();
    for request in requests {
        let (digit, reply) = request.await.expect("no panic");
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.json()["predictions"][0]["label"], digit.to_string(), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_runs_and_get_their_own_answers() {
    // The delay is long enough that concurrent requests share a batch on the slowest machine, too.
    let file = "file = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"500ms\"";
    let server = Arc::new(Server::start(&config(file)).await);
    recognise_at_once(&server, (0..16).map(|request| request % 10)).await;
    let text = server.get("/metrics").await.text;
    // These include the sample of the deployment, which runs as a separate batch.
    let (batches, rows) = (
        metric(&text, "plimsoll_model_batch_rows_count{model=\"m\"}"),
        metric(&text, "plimsoll_model_batch_rows_sum{model=\"m\"}"),
    );
    println!("{rows} rows in {batches} batches");
    assert!(rows >= 16.0 && batches <= rows / 2.0, "{rows} rows in {batches} batches");
    assert!(metric(&text, "plimsoll_model_batch_wait_seconds_count{model=\"m\"}") >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_batch_configuration_is_rejected_with_its_key() {
    let folder = TempDir::new().expect("a folder");
    let digits = plimsoll::base::bundled::file("digits.onnx").expect("bundled");
    // Replaces the free dimension `batch` (field 2 of a dimension, five letters) by the fixed size 1 (field 1), encoded
    // in the same number of bytes.
    let (free, fixed) = (b"\x12\x05batch", [0x08, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00]);
    let mut model = digits.to_vec();
    while let Some(at) = model.windows(free.len()).position(|window| window == free) {
        model[at..at + fixed.len()].copy_from_slice(&fixed);
    }
    let path = folder.path().join("fixed.onnx");
    std::fs::write(&path, model).expect("written");
    let message = Server::rejection(&config(&format!("file = {path:?}\nmax_batch = 8"))).await;
    assert!(message.contains("models.m: input `image` has a first dimension of fixed size 1"), "{message}");

    let file = "file = \"bundled:digits.onnx\"";
    let message = Server::rejection(&config(&format!("{file}\nmax_batch = 1"))).await;
    assert!(message.contains("models.m.max_batch") && message.contains("at least 2"), "{message}");
    let message = Server::rejection(&config(&format!("{file}\nmax_delay = \"1ms\""))).await;
    assert!(message.contains("models.m.max_delay"), "{message}");
}

/// A request that waits until its batch is full is removed from the batch at its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_batch_ends_at_its_deadline() {
    let file = "file = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"20s\"";
    let config = config(file).replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"300ms\"\n");
    // The sample of the deployment waits for the delay, too. With a short delay the configuration is accepted.
    let server = Server::start(&config.replace("20s", "1ms")).await;
    drop(server);
    let message = Server::rejection(&config).await;
    assert!(message.contains("deadline"), "{message}");
}
