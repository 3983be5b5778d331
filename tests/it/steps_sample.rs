//! What the sample of a deployment must reach: a stage that refuses everything is not served, and what was not tried is said.

use std::process::Command;

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest, guests_config, shared_cache};

use crate::steps_pipelines::{GATHER, IN, body, config, rows, sample};

const SPLIT: &str =
    r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
const NEVER: &str = r#"{ name = "never", kind = "transform", plugin = "transformer", config = { refuses = "" } }"#;
const OUT: &str = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;

/// What `plimsoll check` prints and logs, and whether it accepts the configuration.
fn check(text: &str) -> (bool, String) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("plimsoll.toml");
    std::fs::write(&path, format!("cache_dir = {:?}\n{text}", shared_cache())).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
    let output = command.arg("check").arg("--config").arg(path).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// Only preprocessing may refuse the bundled sample: it may not read JPEG. What comes after it gets tensors.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_stage_that_refuses_the_sample_is_not_served() {
    // The table of postprocessing is the last one.
    let three = |config: &str| guests_config("tester", "") + config;
    let text = three("config = { refuses = true }\n");
    let message = Server::rejection(&text).await;
    for words in [
        "pipelines.p.postprocess: ",
        "stage postprocess (plugin echo-postprocess) ended in invalid_input",
        "set `pipelines.p.sample`",
    ] {
        assert!(message.contains(words), "{words} is missing in {message}");
    }
    let picture = r#"{ name = "in", kind = "preprocess", plugin = "tester" }"#;
    let steps =
        |step: &str| format!("[plugins.tester]\nfile = {:?}\n{}", guest("tester"), config("", &[picture, step, OUT]));
    let message = Server::rejection(&steps(NEVER)).await;
    for words in ["pipelines.p.steps.never: ", "stage never (plugin transformer) ended in invalid_input"] {
        assert!(message.contains(words), "{words} is missing in {message}");
    }
    // The same pipelines with plugins that answer are served.
    drop(Server::start(&three("")).await);
    let server = Server::start(&steps(&NEVER.replace("refuses = \"\"", "rename = \"image\""))).await;
    let wrong = std::fs::read(guest("given-tensors")).expect("built");
    let reply = server.send("PUT", "/v1/plugins/tester", &[], wrong).await;
    assert_eq!(reply.status, 200, "preprocessing may refuse a JPEG: {}", reply.text);
}

/// With `partial` the request is answered although a step failed for every item. Such a step is not served.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_for_every_item_of_the_sample_is_not_served() {
    let folder = TempDir::new().expect("a folder");
    let split = SPLIT.replace("items = true", "items = true, partial = true");
    let text = |each: &str| config(&sample(folder.path(), &rows(3)), &[IN, &split, each, GATHER]);
    let message = Server::rejection(&text(NEVER)).await;
    for words in ["pipelines.p.steps.never: ", "failed for all 3 items, the first one ended in invalid_input"] {
        assert!(message.contains(words), "{words} is missing in {message}");
    }
    let model = r#"{ name = "model", kind = "infer", plugin = "infer-native", model = "m" }"#;
    let misfit = format!("[models.m]\nfile = \"bundled:digits.onnx\"\n{}", text(model));
    let message = Server::rejection(&misfit).await;
    for words in ["pipelines.p.steps.model: ", "failed for all 3 items", "tensor_mismatch", "`x`"] {
        assert!(message.contains(words), "{words} is missing in {message}");
    }
    // One item that it answers is enough.
    let server = Server::start(&text(&NEVER.replace("refuses = \"\"", "refuses = \"item 1\""))).await;
    let reply = server.infer("p", "", rows(3)).await.json();
    assert_eq!(reply["items"][1]["error"]["step"], "never", "{reply}");
}

/// What the sample did not reach is served, and said.
#[test]
fn what_the_sample_did_not_reach_is_a_warning() {
    let folder = TempDir::new().expect("a folder");
    let each = r#"{ name = "each", kind = "transform", plugin = "transformer" }"#;
    let steps = [IN, SPLIT, each, GATHER];
    // `given-tensors` reads no JPEG.
    let (is_accepted, text) = check(&config("", &steps));
    assert!(is_accepted, "{text}");
    for words in
        ["in (plugin given-tensors) rejected the bundled sample, so no other stage was tried", "pipelines.p.sample"]
    {
        assert!(text.contains(words), "{words} is missing in {text}");
    }
    let (is_accepted, text) = check(&config(&sample(folder.path(), &rows(0)), &steps));
    assert!(is_accepted && text.contains("the sample made no items that reach `each`"), "{text}");
    let (is_accepted, text) = check(&config(&sample(folder.path(), &rows(1)), &steps));
    assert!(is_accepted && !text.contains("WARN"), "{text}");
}

/// The chips of a step may have models of their own; the sample runs on each.
#[tokio::test(flavor = "multi_thread")]
async fn the_chips_of_a_step_have_models_of_their_own() {
    let folder = TempDir::new().expect("a folder");
    let mut models = String::new();
    for (name, factor, columns) in [("double", 2.0, 2), ("triple", 3.0, 2), ("wide", 3.0, 3)] {
        let shape = [Some(1), Some(columns)];
        let model = Onnx::new(13).input("x", &shape).floats("factor", &[], &[factor]);
        let model = model.node("Mul", &["x", "factor"], "y", &[]).output("y", &shape);
        let path = folder.path().join(name);
        std::fs::write(&path, model.bytes()).expect("written");
        models += &format!("[models.{name}]\nfile = {path:?}\n");
    }
    let text = |other: &str| {
        let chip = |model: &str| format!("{{ plugin = \"infer-native\", model = \"{model}\" }}");
        let step = format!(
            r#"{{ name = "model", kind = "infer", chips = {{ a = {}, b = {} }} }}"#,
            chip("double"),
            chip(other)
        );
        let keys = format!("default_chip = \"a\"\n{}", sample(folder.path(), &rows(1)));
        models.clone() + &config(&keys, &[IN, &step, OUT])
    };
    let server = Server::start(&text("triple")).await;
    for (query, wanted) in [("?post=data", [4.0, 5.0]), ("?post=data&chip=b", [6.0, 7.5])] {
        let body = body(&[("x", &[1, 2], &[2.0, 2.5])]);
        assert_eq!(server.infer("p", query, body).await.json()["data"], serde_json::json!([wanted]), "{query}");
    }
    let message = Server::rejection(&text("wide")).await;
    for words in ["pipelines.p.steps.model: ", "failed on chip `b`", "tensor_mismatch"] {
        assert!(message.contains(words), "{words} is missing in {message}");
    }
}
