//! A shadow of a step: its runs are compared with those of another chip, for each item, and never change an answer.

use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, shared_cache};
use serde_json::{Value, json};

use crate::batching::metric;
use crate::cli::{run, text};
use crate::shadow::{comparisons, runs, settled};
use crate::steps_pipelines::{GATHER, IN, body, config, rows};

const SPLIT: &str = r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, max_items = 100, config = { split = true } }"#;
const DEFAULT: &str = "default_chip = \"a\"";
const SERVER: &str = "[server]\nmax_shadow_queue = 1000\n";

/// A step `model` with the chips `a`, and `b`, which misbehaves by the query parameter `b`.
fn echo(share: &str, more: &str) -> String {
    let b = r#"{ plugin = "echo-infer", deadline = "60s", config = { parameter = "b" } }"#;
    format!(
        "{{ name = \"model\", kind = \"infer\", chips = {{ a = {{ plugin = \"echo-infer\" }}, b = {b} }}, shadow = {{ chip = \
         \"b\", share = \"{share}\" }}{more} }}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_of_a_step_is_compared_and_the_answer_stays() {
    let server = Server::start(&(SERVER.to_owned() + &config(DEFAULT, &[IN, SPLIT, &echo("100%", ""), GATHER]))).await;
    let usual = server.infer("p", "", rows(3)).await;
    assert_eq!(usual.status, 200, "{}", usual.text);
    let pair = settled(&server, 3).await;
    let of = [&pair["stage"], &pair["chip"], &pair["shadow"], &pair["compared"]];
    assert_eq!(of, [&json!("model"), &json!("a"), &json!("b"), &json!(3)], "{pair}");
    assert_eq!((&pair["outputs"][0]["name"], &pair["outputs"][0]["compared"]), (&json!("x"), &json!(3)), "{pair}");
    for (turn, (command, result, reason)) in
        (2..).zip([("panic", "failed", "trap"), ("nan", "mismatched", "nan"), ("name", "mismatched", "name")])
    {
        let reply = server.infer("p", &format!("?b={command}"), rows(3)).await;
        assert_eq!((reply.status, &reply.text), (200, &usual.text), "{command}");
        let pair = settled(&server, 3 * turn).await;
        assert_eq!(pair[result][reason], 3, "{command}: {pair}");
    }
    // One request cannot take the room of all others, because its caller chooses how many items there are.
    assert_eq!(server.infer("p", "", rows(20)).await.status, 200);
    let pair = settled(&server, 32).await;
    assert_eq!((&pair["compared"], &pair["skipped"]), (&json!(11), &json!({ "items": 12 })), "{pair}");
    // A run that failed has nothing to compare with; nor has one on the shadow itself.
    assert_eq!(server.infer("p", "?infer=panic", rows(1)).await.status, 500);
    let pair = settled(&server, 33).await;
    assert_eq!(pair["skipped"], json!({ "items": 12, "no_answer": 1 }), "{pair}");
    assert_eq!(server.infer("p", "?chip=b", rows(1)).await.status, 200);
    // Tensors for the step alone are compared, too.
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5] });
    let reply = server.infer_json("p.model", &json!({ "inputs": [input] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    settled(&server, 34).await;
    let metrics = server.get("/metrics").await.text;
    let series = "{pipeline=\"p\",stage=\"model\",chip=\"a\",shadow=\"b\"";
    for (rest, count) in [("result=\"compared\",reason=\"\"", 12.0), ("result=\"skipped\",reason=\"items\"", 12.0)] {
        assert_eq!(metric(&metrics, &format!("plimsoll_shadow_runs_total{series},{rest}}}")), count, "{rest}");
    }
    assert_eq!(metric(&metrics, &format!("plimsoll_shadow_relative_difference_count{series}}}")), 12.0);
    let report = server.get("/v1/chips/compare").await.json();
    let shadow = json!({ "pipeline": "p", "stage": "model", "default_chip": "a", "shadow": "b", "share": 1.0 });
    assert_eq!(report["shadows"], json!([shadow]));
    // The runs of the shadow are no runs of the step: 1 of them is the request that named chip `b`.
    let memory = server.get("/v1/memory").await.json();
    let of_b =
        memory["stages"].as_array().expect("rows").iter().filter(|row| row["chip"] == "b" && row["stage"] == "model");
    assert_eq!(of_b.map(|row| row["count"].clone()).collect::<Vec<_>>(), [json!(1)], "{memory}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_share_is_one_of_the_runs_of_the_step() {
    let server = Server::start(&(SERVER.to_owned() + &config(DEFAULT, &[IN, SPLIT, &echo("2%", ""), GATHER]))).await;
    for _ in 0..5 {
        assert_eq!(server.infer("p", "", rows(100)).await.status, 200);
    }
    let started = Instant::now();
    let mut count = 0;
    // The shadow gets 2 % of each block of at most 150 items, so at least 5 of 500.
    while count < 5 {
        assert!(started.elapsed() < Duration::from_secs(30), "{count} shadow runs");
        count = comparisons(&server).await.first().map_or(0, runs);
    }
    assert!(count <= 15, "{count} shadow runs");
}

/// What a shadow keeps is no memory of the request, which would be refused for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_shadow_keeps_does_not_count_for_the_request() {
    let values = vec![0.5; 4 << 20];
    let body = body(&[("x", &[1, 2], &[1.0, 2.0]), ("big", &[4 << 20], &values)]);
    let read = r#"{ name = "read", kind = "transform", plugin = "transformer", from = ["model"], config = { parameter = "read" } }"#;
    let last = r#"{ name = "last", kind = "transform", plugin = "transformer", from = ["read.big as part", "in.x"], config = { parameter = "last" } }"#;
    let out = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;
    let model = echo("100%", ", from = [\"in.big\"]");
    let limit = format!("{DEFAULT}\nmax_request_memory = \"60MiB\"");
    let server = Server::start(&config(&limit, &[IN, &model, read, last, out])).await;
    let reply = server.infer("p", "?read=region&start=0&size=2&last=need&bytes=54525952", body).await;
    assert_eq!(reply.code(), "ok", "{}", reply.text);
    assert_eq!(settled(&server, 1).await["compared"], 1);
}

/// Two models with other weights: `b` adds 1 to one output, so the smallest row differs most.
fn models(folder: &Path) -> String {
    let model = |name: &str, bias: f32| {
        let model = Onnx::new(17)
            .input("x", &[None, Some(2)])
            .floats("w", &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
            .floats("bias", &[3], &[0.0, 0.0, bias])
            .node("MatMul", &["x", "w"], "product", &[])
            .node("Add", &["product", "bias"], "y", &[])
            .output("y", &[None, Some(3)]);
        let file = folder.join(format!("{name}.onnx"));
        std::fs::write(&file, model.bytes()).expect("written");
        format!("[models.{name}]\nfile = {file:?}\n")
    };
    model("a", 0.0) + &model("b", 1.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_items_that_differ_most_are_recorded_and_chips_are_compared_by_recordings() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("recordings");
    let model = r#"{ name = "model", kind = "infer", chips = { a = { plugin = "infer-native", model = "a" }, b = { plugin = "infer-native", model = "b" } }, shadow = { chip = "b", share = "100%" } }"#;
    let keys = format!("{DEFAULT}\nrecord = {{ dir = {dir:?} }}");
    let config = models(folder.path()) + &config(&keys, &[IN, SPLIT, model, GATHER]);
    let server = Server::start(&config).await;
    let reply = server.infer("p", "", rows(3)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let pair = settled(&server, 3).await;
    assert_eq!((&pair["compared"], &pair["largest"]["item"]), (&json!(3), &json!(0)), "{pair}");
    // Each chip of the step has its own model, also for tensors alone.
    for (chip, last) in [("a", 0.5), ("b", 1.5)] {
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 0.5] });
        let reply = server.infer_json("p.model", &json!({ "inputs": [input], "parameters": { "chip": chip } })).await;
        assert_eq!(reply.json()["outputs"][0]["data"], json!([2.0, 0.5, last]), "{}", reply.text);
    }
    server.stop().await;
    let files = std::fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let facts = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let facts: Vec<Value> =
        facts.map(|path| serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON")).collect();
    let is_first = |facts: &&Value| {
        facts["kept_for"][0].as_str().is_some_and(|it| it.starts_with("shadow b of step model, item 0: rel"))
    };
    assert_eq!(facts.iter().filter(is_first).count(), 1, "{facts:?}");

    let file = folder.path().join("plimsoll.toml");
    std::fs::write(&file, format!("cache_dir = {:?}\n{config}", shared_cache())).expect("written");
    let replay = |more: &[&str]| {
        let (file, dir) = (file.to_str().expect("text"), dir.to_str().expect("text"));
        let output = run(&[&["replay", dir, "--config", file, "--chip", "a", "--chip", "b"], more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for more in [&[][..], &["--step", "model"]] {
        let (code, printed, log) = replay(more);
        assert_eq!(code, Some(0), "{printed}{log}");
        let rows: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
        let of_items = rows.iter().filter(|row| row.len() > 5 && row[1..6] == ["model", row[2], "a", "b", "compared"]);
        let items: Vec<_> = of_items.map(|row| row[2]).collect();
        assert_eq!(items, ["0", "1", "2"].repeat(facts.len()), "{printed}");
        let summary = format!("pipeline p, stage model, chip a compared with b: {} compared", 3 * facts.len());
        assert!(printed.contains(&summary), "{printed}");
    }
    let (code, printed, log) = replay(&["--step", "split"]);
    assert!(
        code == Some(1) && log.contains("no step `split` with chips to compare; those with chips are model"),
        "{printed}{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_cannot_be_used_is_refused_with_its_key() {
    let chips = |shadow: &str| echo("100%", "").replace(r#"{ chip = "b", share = "100%" }"#, shadow);
    let plain = r#"{ name = "model", kind = "infer", plugin = "echo-infer", shadow = { chip = "b", share = "1%" } }"#;
    let transform =
        r#"{ name = "model", kind = "transform", plugin = "transformer", shadow = { chip = "b", share = "1%" } }"#;
    let usual = "{ chip = \"b\", share = \"1%\" }";
    for (keys, step, words) in [
        (
            DEFAULT,
            chips("{ chip = \"c\", share = \"1%\" }"),
            "steps.model.shadow.chip: there is no chip `c`; set it to one of b",
        ),
        (
            DEFAULT,
            chips("{ chip = \"a\", share = \"1%\" }"),
            "steps.model.shadow.chip: `a` is the chip of requests that name none",
        ),
        (DEFAULT, chips("{ chip = \"b\", share = \"101%\" }"), "steps.model.shadow.share: must be from"),
        (DEFAULT, chips("{ chip = \"b\" }"), "missing field `share`"),
        ("", plain.into(), "steps.model.shadow: there is no other chip to compare with"),
        ("", transform.into(), "steps.model.shadow: only a step of kind `infer` has a shadow"),
        (
            "shadow = { chip = \"b\", share = \"1%\" }\ndefault_chip = \"a\"",
            chips(usual),
            "pipelines.p.shadow: the pipeline has `steps`",
        ),
    ] {
        let out = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;
        let message = Server::rejection(&config(keys, &[IN, &step, out])).await;
        assert!(message.contains(words), "{step}: {message}");
    }
}
