//! For tests of the shipped postprocess plugins: pipelines whose models return what the body of the request has, so that
//! a test chooses what the plugin gets.

use std::path::Path;
use std::process::Command;

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest};
use serde_json::{Value, json};

use crate::oip_conformance::environment;

/// Each configuration needs its own snapshot and its slots in the instance pool.
pub(crate) const PIPELINES_PER_SERVER: usize = 20;

/// The number of cases of each suite.
pub(crate) const CASES: usize = 200;

/// A configuration with one pipeline for each text of `[pipelines.NAME.postprocess]`, named `p0`, `p1` and so on.
pub(crate) fn pipelines(plugin: &str, stages: &[String]) -> String {
    let mut toml = String::new();
    for name in ["given-tensors", "noop-infer"] {
        toml += &format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    }
    for (index, stage) in stages.iter().enumerate() {
        toml += &format!(
            "[pipelines.p{index}.preprocess]\nplugin = \"given-tensors\"\n[pipelines.p{index}.chips.c]\n\
             plugin = \"noop-infer\"\n[pipelines.p{index}.postprocess]\nplugin = \"{plugin}\"\n{stage}\n"
        );
    }
    toml
}

/// A server with these pipelines.
pub(crate) async fn server(plugin: &str, stages: &[String]) -> Server {
    Server::start(&pipelines(plugin, stages)).await
}

/// Runs a script of `tests/conformance` with the requirements of the suites. Returns what it prints, or `None` if Python
/// is missing. The exit code must be 0.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Option<String> {
    let python = environment("requirements-postprocess.txt")?;
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(script)).args(arguments);
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// The body for `given-tensors`: tensors of f32 with their names and shapes, for an image of the size of the input, 64 x
/// 64 pixels.
pub(crate) fn body(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let described = tensors.iter().map(|(name, shape, _)| json!({ "name": name, "type": "fp32", "shape": shape }));
    let context = json!({ "width": 64, "height": 64, "input_width": 64, "input_height": 64, "scale_x": 1.0, "scale_y": 1.0,
                          "offset_x": 0.0, "offset_y": 0.0 });
    let text = json!({ "tensors": described.collect::<Vec<_>>(), "context": context }).to_string();
    let mut body = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend(tensors.iter().flat_map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes())));
    body
}

/// Generates the cases of a suite of `tests/conformance/postprocess`, posts them to the plugin, and has the replies
/// compared with the reference. A wrong reply fails the test.
pub(crate) async fn compare_with_reference(plugin: &str, suite: &'static str) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().to_str().expect("text").to_owned();
    let count = CASES.to_string();
    let make = move || python("postprocess", &["make", suite, &path, "--count", &count]);
    if tokio::task::spawn_blocking(make).await.expect("no panic").is_none() {
        return;
    }
    let index = std::fs::read(folder.path().join("index.json")).expect("an index");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("a list");
    let mut replies = serde_json::Map::new();
    for some in index.chunks(PIPELINES_PER_SERVER) {
        let stages: Vec<_> = some.iter().map(|it| it["stage"].as_str().expect("text").to_owned()).collect();
        let server = server(plugin, &stages).await;
        for (pipeline, it) in some.iter().enumerate() {
            for case in it["cases"].as_array().expect("a list") {
                let name = case.as_str().expect("a name");
                let body = std::fs::read(folder.path().join(format!("{name}.body"))).expect("listed");
                let reply = server.infer(&format!("p{pipeline}"), "", body).await;
                let media_type = reply.headers["content-type"].to_str().expect("text");
                replies.insert(name.to_owned(), json!([reply.status, media_type]));
                std::fs::write(folder.path().join(format!("{name}.reply")), reply.bytes).expect("written");
            }
        }
    }
    assert_eq!(replies.len(), CASES);
    std::fs::write(folder.path().join("replies.json"), Value::from(replies).to_string()).expect("written");
    let path = folder.path().to_str().expect("text").to_owned();
    let check = move || python("postprocess", &["check", suite, &path]);
    let report = tokio::task::spawn_blocking(check).await.expect("no panic").expect("Python is there");
    println!("{report}");
    assert!(report.starts_with(&format!("{CASES} replies")), "{report}");
}

/// A configuration whose model returns these outputs, and the folder of the model. `stage` is added to
/// `[pipelines.p0.postprocess]`. The pipeline runs the model unchanged, so its outputs are checked at deployment.
pub(crate) fn with_model(plugin: &str, stage: &str, outputs: &[Output<'_>]) -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let mut model = Onnx::new(17);
    for (index, output) in outputs.iter().enumerate() {
        let input = format!("x{index}");
        model = match output.integers {
            true => model.int_input(&input, output.shape).int_output(output.name, output.shape),
            false => model.input(&input, output.shape).output(output.name, output.shape),
        };
        model = model.node("Identity", &[&input], output.name, &[]);
    }
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.bytes()).expect("written");
    let toml = pipelines(plugin, &[stage.to_owned()])
        .replace("plugin = \"noop-infer\"", "plugin = \"infer-native\"")
        .replace("[pipelines.p0.preprocess]", "[pipelines.p0]\nmodel = \"m\"\n[pipelines.p0.preprocess]")
        + &format!("[models.m]\nfile = {file:?}\n");
    (folder, toml)
}

/// An output of a model. `None` is a dynamic size.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    name: &'a str,
    shape: &'a [Option<i64>],
    /// True for INT64, false for FLOAT.
    integers: bool,
}

/// An output of FLOAT.
pub(crate) const fn floats<'a>(name: &'a str, shape: &'a [Option<i64>]) -> Output<'a> {
    Output { name, shape, integers: false }
}

/// An output of INT64.
pub(crate) const fn integers<'a>(name: &'a str, shape: &'a [Option<i64>]) -> Output<'a> {
    Output { name, shape, integers: true }
}

/// Checks that a model with these outputs is accepted, or rejected with a message that contains `wanted`.
pub(crate) async fn check_admission(plugin: &str, stage: &str, outputs: &[Output<'_>], wanted: Option<&str>) {
    let (_folder, toml) = with_model(plugin, stage, outputs);
    match wanted {
        None => drop(Server::start(&toml).await),
        Some(wanted) => {
            let message = Server::rejection(&toml).await;
            assert!(message.contains(wanted), "{wanted:?} is missing in: {message}");
        }
    }
}
