//! Batches across isolated instances, over HTTP: the answers are those of single runs, and the metrics tell of batches.

use std::sync::Arc;

use plimsoll_tests::{Server, TempDir, data};

/// The demo's model with batches of up to 8, as `model` configures it.
fn config(model: &str) -> String {
    format!(
        "[models.m]\n{model}\n[pipelines.p]\nmodel = \"m\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
         [pipelines.p.chips.c]\nplugin = \"infer-native\"\n[pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ labels = \"labels.txt\" }}\nassets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
    )
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_runs_and_get_their_own_answers() {
    // Long enough that what is sent at once is gathered on the slowest machine.
    let file = "file = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"500ms\"";
    let server = Arc::new(Server::start(&config(file)).await);
    let sent: Vec<_> = (0..16)
        .map(|request| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let digit = request % 10;
                let extension = if [3, 7].contains(&digit) { "jpg" } else { "png" };
                let body = std::fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit");
                (digit, server.infer("p", "", body).await)
            })
        })
        .collect();
    for answer in sent {
        let (digit, reply) = answer.await.expect("no panic");
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.json()["predictions"][0]["label"], digit.to_string(), "{}", reply.text);
    }
    let text = server.get("/metrics").await.text;
    // The sample of the deployment is a batch of its own.
    let (batches, rows) = (
        metric(&text, "plimsoll_model_batch_rows_count{model=\"m\"}"),
        metric(&text, "plimsoll_model_batch_rows_sum{model=\"m\"}"),
    );
    println!("{rows} rows in {batches} batches");
    assert!(rows >= 16.0 && batches <= rows / 2.0, "{rows} rows in {batches} batches");
    assert!(metric(&text, "plimsoll_model_batch_wait_seconds_count{model=\"m\"}") >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_batched_is_refused_at_the_key() {
    let folder = TempDir::new().expect("a folder");
    let digits = plimsoll::base::bundled::file("digits.onnx").expect("bundled");
    // The free dimension `batch` (field 2 of a dimension, five letters) as the number 1 (field 1), in as many bytes.
    let (free, fixed) = (b"\x12\x05batch", [0x08, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00]);
    let mut model = digits.to_vec();
    while let Some(at) = model.windows(free.len()).position(|window| window == free) {
        model[at..at + fixed.len()].copy_from_slice(&fixed);
    }
    let path = folder.path().join("fixed.onnx");
    std::fs::write(&path, model).expect("written");
    let refused = Server::refused(&config(&format!("file = {path:?}\nmax_batch = 8"))).await;
    assert!(refused.contains("models.m: input `image` has a first dimension of fixed size 1"), "{refused}");

    let file = "file = \"bundled:digits.onnx\"";
    let refused = Server::refused(&config(&format!("{file}\nmax_batch = 1"))).await;
    assert!(refused.contains("models.m.max_batch") && refused.contains("at least 2"), "{refused}");
    let refused = Server::refused(&config(&format!("{file}\nmax_delay = \"1ms\""))).await;
    assert!(refused.contains("models.m.max_delay"), "{refused}");
}

/// The deadline of a request that waits for its batch to fill takes it out of the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_wait_for_a_batch() {
    let file = "file = \"bundled:digits.onnx\"\nmax_batch = 8\nmax_delay = \"20s\"";
    let config = config(file).replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"300ms\"\n");
    // The sample of the deployment would wait as long, so the first start is with a short delay.
    let server = Server::start(&config.replace("20s", "1ms")).await;
    drop(server);
    let refused = Server::refused(&config).await;
    assert!(refused.contains("deadline"), "{refused}");
}
