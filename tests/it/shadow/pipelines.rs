//! Pipelines with a shadow chip, and what a server has counted of its runs.

use std::time::{Duration, Instant};

use plimsoll_tests::{Server, data, guests_config};
use serde_json::Value;

use crate::batching::metric;

/// A pipeline that recognises digits on chip `a`, with the shadow chip `b`. `models` are the tables of the models `a` and
/// `b`; `pipeline` and `chip` are added to the pipeline and to chip `b`.
pub(crate) fn digits(models: &str, pipeline: &str, chip: &str) -> String {
    format!(
        "{models}\n[pipelines.p]\ndefault_chip = \"a\"\n{pipeline}\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
         [pipelines.p.chips.a]\nplugin = \"infer-native\"\nmodel = \"a\"\n\
         [pipelines.p.chips.b]\nplugin = \"infer-native\"\nmodel = \"b\"\n{chip}\n\
         [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ labels = \"labels.txt\" }}\nassets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
    )
}

pub(crate) const A: &str = "[models.a]\nfile = \"bundled:digits.onnx\"\n";
pub(crate) const ALL: &str = "shadow = { chip = \"b\", share = \"100%\" }\n";

/// A pipeline of guests with the chips `echo` and `b`. Chip `b` misbehaves by the query parameter `b`.
pub(crate) fn guests(server: &str, shadow: &str) -> String {
    let echo = "[pipelines.p.chips.echo]\nplugin = \"echo-infer\"\n";
    let b = "[pipelines.p.chips.b]\nplugin = \"echo-infer\"\nmax_memory = \"8MiB\"\ndeadline = \"6s\"\n\
             config = { parameter = \"b\" }\n";
    let config = guests_config("tester", "").replace(echo, &format!("{echo}{b}")).replace(
        "[pipelines.p.preprocess]",
        &format!("[pipelines.p]\ndefault_chip = \"echo\"\n{shadow}\n[pipelines.p.preprocess]"),
    );
    assert!(config.contains(b) && config.contains("default_chip"), "{config}");
    format!("[server]\n{server}\n{config}")
}

pub(crate) async fn infer_digit(server: &Server, digit: u8) {
    let extension = if [3, 7].contains(&digit) { "jpg" } else { "png" };
    let body = std::fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit");
    let reply = server.infer("p", "", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.headers["x-plimsoll-chip"], "a");
    assert_eq!(reply.json()["predictions"][0]["label"], digit.to_string(), "{}", reply.text);
}

/// The comparisons of the report.
pub(crate) async fn comparisons(server: &Server) -> Vec<Value> {
    let reply = server.get("/v1/chips/compare").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["comparisons"].as_array().expect("a list").clone()
}

/// The number of shadow runs in a comparison.
pub(crate) fn runs(pair: &Value) -> u64 {
    let of = |what: &str| pair[what].as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>();
    pair["compared"].as_u64().expect("a count") + of("mismatched") + of("failed") + of("skipped")
}

/// Waits until the only comparison has this number of shadow runs, and returns it.
pub(crate) async fn settled(server: &Server, count: u64) -> Value {
    let started = Instant::now();
    loop {
        let pairs = comparisons(server).await;
        if let [pair] = pairs.as_slice()
            && runs(pair) >= count
        {
            assert_eq!(runs(pair), count, "{pair}");
            return pair.clone();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "waiting for {count} shadow runs: {pairs:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of a metric of the shadow of pipeline `p`.
pub(crate) async fn shadow_metric(server: &Server, name: &str, chip: &str, rest: &str) -> f64 {
    let text = server.get("/metrics").await.text;
    metric(
        &text,
        &format!("plimsoll_shadow_{name}{{pipeline=\"p\",stage=\"infer\",chip=\"{chip}\",shadow=\"b\"{rest}}}"),
    )
}
