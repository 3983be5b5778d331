//! Slicing: a picture is cut into tiles that overlap, a detector runs for each, and the detections are merged.

use std::path::Path;
use std::process::Command;

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};
use serde_json::{Value, json};

use crate::oip_conformance::environment;
use crate::postprocess_cases::CASES;
use crate::steps_pipelines::{GATHER, IN, plugins};

/// Runs the script. `None` if Python is missing.
fn script(arguments: &[&str]) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/tiles");
    let mut command = Command::new(environment("requirements-init.txt")?);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// A pipeline that detects in tiles.
fn pipeline(name: &str, tiles: &str, merge: &str) -> String {
    format!(
        r#"
[[pipelines.{name}.steps]]
name = "prepare"
kind = "preprocess"
plugin = "image-preprocess"
config = {{ width = 8, height = 8, picture = true }}

[[pipelines.{name}.steps]]
name = "tiles"
kind = "transform"
plugin = "crop-transform"
from = ["prepare.picture"]
items = true
max_items = 500
partial = true
config = {{ detector = "tiles", preset = "yolo", max_tiles = 500, {tiles} }}

[[pipelines.{name}.steps]]
name = "detect"
kind = "infer"
plugin = "infer-native"
model = "m"

[[pipelines.{name}.steps]]
name = "reply"
kind = "postprocess"
plugin = "detect-postprocess"
gather = true
config = {{ items = true, layout = "yolov8", {merge} }}
"#
    )
    .replace(",  }", " }")
}

#[tokio::test(flavor = "multi_thread")]
async fn detections_of_tiles_are_merged_as_by_sahi() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().to_str().expect("text").to_owned();
    let make = move || script(&["make", &path, "--count", &CASES.to_string()]);
    if tokio::task::spawn_blocking(make).await.expect("no panic").is_none() {
        return;
    }
    let index = std::fs::read(folder.path().join("index.json")).expect("an index");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("a list");
    let mut toml = format!("[models.m]\nfile = {:?}\n", folder.path().join("model.onnx"));
    for (at, it) in index.iter().enumerate() {
        let [tiles, merge] = ["tiles", "merge"].map(|key| it[key].as_str().expect("text"));
        toml += &pipeline(&format!("p{at}"), &format!("whole = false, {tiles}"), merge);
    }
    let server = Server::start(&toml).await;
    for (at, it) in index.iter().enumerate() {
        for case in it["cases"].as_array().expect("a list") {
            let name = case.as_str().expect("a name");
            let body = std::fs::read(folder.path().join(format!("{name}.png"))).expect("listed");
            let reply = server.infer(&format!("p{at}"), "", body).await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.text);
            std::fs::write(folder.path().join(format!("{name}.json")), reply.bytes).expect("written");
        }
    }
    let path = folder.path().to_str().expect("text").to_owned();
    let check = move || script(&["check", &path]);
    let report = tokio::task::spawn_blocking(check).await.expect("no panic").expect("Python is there");
    println!("{report}");
    assert!(report.starts_with(&format!("{CASES} replies, 0 are wrong")), "{report}");
}

/// The tensors of tiles.
const TENSOR: &str = "dtype = \"u8\", layout = \"nhwc\", width = 32, height = 24";

/// The body for `given-tensors` with a row of `end-to-end`, and a gray picture of 64 x 48 pixels of a caller's image of twice the
/// size.
fn picture(row: &[f32; 6]) -> Vec<u8> {
    let context = json!({ "width": 128, "height": 96, "input_width": 8, "input_height": 8, "scale_x": 0.0625,
                          "scale_y": 0.0833, "offset_x": 0, "offset_y": 0 });
    let tensors = json!([{ "name": "rows", "type": "fp32", "shape": [1, 1, 6] },
                         { "name": "picture", "type": "u8", "shape": [1, 48, 64, 3] }]);
    let text = json!({ "tensors": tensors, "context": context }).to_string();
    let mut body = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    body.extend([9; 48 * 64 * 3]);
    body
}

/// The whole picture and tiles of two sizes, of a picture that has half of the caller's pixels.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_cut_at_several_sizes() {
    let step = |config: &str| {
        format!(
            "{{ name = \"crop\", kind = \"transform\", plugin = \"crop-transform\", items = true, config = {{ detector = \"tiles\", \
             {TENSOR}, {config} }} }}"
        )
    };
    let steps = ["tile_widths = [32, 64], overlap = 0", "whole = false, overlap = 0.5, max_tiles = 8"];
    let mut text = plugins();
    for (at, config) in steps.into_iter().enumerate() {
        text += &format!("[pipelines.p{at}]\nsteps = [\n{IN},\n{},\n{GATHER}\n]\n", step(config));
    }
    let server = Server::start(&text).await;
    let reply = server.infer("p0", "", picture(&[0.0; 6])).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = reply.json();
    let contexts = reply["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| -> Value { serde_json::from_str(item["context"].as_str().expect("text")).expect("JSON") });
    let contexts: Vec<_> = contexts.collect();
    let boxes: Vec<_> = contexts.iter().map(|context| context["item"]["box"].clone()).collect();
    let whole = json!([0.0, 0.0, 128.0, 96.0]);
    let quarters = [[0, 0], [64, 0], [0, 48], [64, 48]]
        .map(|[x, y]| json!([x as f32, y as f32, x as f32 + 64.0, y as f32 + 48.0]));
    // The tile of 64 pixels is the whole picture, which is there once.
    assert_eq!(boxes, [&[whole][..], &quarters].concat());
    // The whole picture is at a quarter of the caller's size, a tile at half of it.
    let of = |context: &Value| {
        ["scale_x", "scale_y", "offset_x", "offset_y"].map(|key| context[key].as_f64().expect("a number"))
    };
    assert_eq!((of(&contexts[0]), of(&contexts[4])), ([0.25, 0.25, 0.0, 0.0], [0.5, 0.5, -32.0, -24.0]));
    // 3 x 3 tiles.
    let refused = server.infer("p1", "", picture(&[0.0; 6])).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"), "{}", refused.text);
    assert!(refused.text.contains("9 tiles, more than `max_tiles` (8)"), "{}", refused.text);
}

/// A tile that fails is named in the reply, and the others are answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_tile_that_fails_is_named() {
    let tiles = format!(
        "{{ name = \"crop\", kind = \"transform\", plugin = \"crop-transform\", from = [\"in.picture\"], items = true, partial = \
         true, config = {{ {TENSOR}, detector = \"tiles\", tile_widths = [32], overlap = 0, whole = false }} }}"
    );
    let each = r#"{ name = "each", kind = "transform", plugin = "transformer", from = ["crop", "in.rows"], config = { parameter = "each" } }"#;
    let reply = |more: &str| {
        format!(
            "{{ name = \"reply\", kind = \"postprocess\", plugin = \"detect-postprocess\", {more} config = {{ items = true, layout = \
             \"end-to-end\", output = \"rows\" }} }}"
        )
    };
    let text = format!(
        "{}[pipelines.p]\nsteps = [{IN}, {tiles}, {each}, {}]\n[pipelines.q]\nsteps = [{IN}, {}]\n",
        plugins(),
        reply("gather = true,"),
        reply("")
    );
    let server = Server::start(&text).await;
    let row = [2.0, 2.0, 10.0, 10.0, 0.9, 0.0];
    let all = server.infer("p", "", picture(&row)).await;
    assert_eq!(all.status, 200, "{}", all.text);
    let detection =
        |x: f32, y: f32| json!({ "label": "0", "index": 0, "score": 0.9, "box": [x, y, x + 16.0, y + 16.0] });
    let at = [[4.0, 4.0], [68.0, 4.0], [4.0, 52.0], [68.0, 52.0]].map(|[x, y]| detection(x, y));
    let rounded = |mut reply: Value| {
        for it in reply["detections"].as_array_mut().expect("a list") {
            it["score"] = json!((it["score"].as_f64().expect("a number") * 100.0).round() / 100.0);
        }
        reply
    };
    assert_eq!(rounded(all.json()), json!({ "width": 128, "height": 96, "detections": at }));
    // The tile at 64, 0.
    let some = server.infer("p", "?each=panic&holding=%5B64.0%2C0.0", picture(&row)).await;
    assert_eq!(some.status, 200, "{}", some.text);
    let mut reply = rounded(some.json());
    let failed = reply.as_object_mut().expect("an object").remove("failed").expect("there");
    assert_eq!(reply, json!({ "width": 128, "height": 96, "detections": [at[0], at[2], at[3]] }));
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
    assert_eq!(
        (&failed[0]["item"], &failed[0]["step"], &failed[0]["outcome"]),
        (&json!(1), &json!("each"), &json!("trap"))
    );
    // What cannot be right is an error, and the log names the tile.
    let nan = server.infer("p", "", picture(&[f32::NAN, 2.0, 10.0, 10.0, 0.9, 0.0])).await;
    assert_eq!((nan.status, nan.code().as_str()), (500, "internal"), "{}", nan.text);
    let alone = server.infer("q", "", picture(&row)).await;
    assert_eq!(alone.status, 500, "without gather = true: {}", alone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_that_cannot_be_cut_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let shape = [Some(1), Some(6), Some(16)];
    let image = [Some(1), Some(3), Some(32), Some(32)];
    let model = Onnx::new(17).input("x", &image).floats("none", &[1, 6, 16], &[0.0; 96]);
    let model = model.node("ReduceMean", &["x"], "mean", &[("keepdims", 0)]).node("Add", &["none", "mean"], "y", &[]);
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.output("y", &shape).bytes()).expect("written");
    for (tiles, merge, wanted) in [
        ("overlap = 1", "", "`overlap`: 1 is not between 0 and 0.9"),
        ("tile_widths = [0]", "", "`tile_widths`: 0 is not a number"),
        ("keep = [1]", "", "`keep` can only be used with a detector"),
        ("score_threshold = 0.5", "", "`score_threshold` can only be used with a detector"),
        ("", "merge_threshold = 2", "`merge_threshold`: 2 is not between 0 and 1"),
        ("", "merge_metric = \"iou\"", "is not one of smaller, union"),
    ] {
        let toml = format!("[models.m]\nfile = {file:?}\n{}", pipeline("p", tiles, merge));
        let message = Server::rejection(&toml).await;
        assert!(message.contains(wanted), "{tiles} {merge}: {wanted:?} is missing in: {message}");
    }
    let alone = pipeline("p", "", "").replace("items = true, layout", "merge_threshold = 0.5, layout");
    let message = Server::rejection(&format!("[models.m]\nfile = {file:?}\n{alone}")).await;
    assert!(message.contains("`merge_threshold` can only be used with `items = true`"), "{message}");
}
